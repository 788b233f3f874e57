// What a node encodes by the table, and what it concatenates by hand, decode to the same messages.

import { expect, test } from "bun:test";
import fc from "fast-check";
import {
  clientMessage,
  encodeMessage,
  encodeNodeMessage,
  encodePresent,
  encodePublishOk,
  encodeRemembered,
  messageHead,
  nodeMessage,
  type OutgoingMessage,
  presentList,
  rememberedList,
} from "../../src/wire/client-messages.ts";
import { ERRORS } from "../../src/wire/codes.ts";
import { OFFSET_MAX } from "../../src/wire/position.ts";

const name = fc.string({ unit: "binary", minLength: 1, maxLength: 40 }).filter(isChannel);
const client = fc.string({ minLength: 1, maxLength: 64 });
const id = fc.oneof(fc.integer(), fc.string({ maxLength: 64 }));
const offset = fc.nat(OFFSET_MAX);
const text = fc.json();
const position = fc.record({ epoch: fc.string({ minLength: 1, maxLength: 32 }), offset });
const gap = fc.record({
  reason: fc.constantFrom("expired", "evicted", "epoch", "slow"),
  from: offset,
  to: offset,
});
const limit = fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER });
const codes = Object.keys(ERRORS).filter((code): code is keyof typeof ERRORS =>
  Object.hasOwn(ERRORS, code),
);

const outgoing: fc.Arbitrary<OutgoingMessage> = fc.oneof(
  fc.record({
    type: fc.constant("welcome"),
    session: client,
    node: client,
    pingMs: fc.integer({ min: 1, max: 3_600_000 }),
    limits: fc.record({
      frameBytes: limit,
      dataBytes: limit,
      subscriptions: limit,
      unacknowledged: limit,
    }),
  }),
  fc.record(
    {
      type: fc.constant("ok"),
      id,
      channel: name,
      position,
      recovered: fc.boolean(),
      more: fc.boolean(),
      gap,
      data: text,
    },
    { requiredKeys: ["type"] },
  ),
  fc.record({
    type: fc.constant("error"),
    id: fc.option(id, { nil: undefined }),
    code: fc.constantFrom(...codes),
    message: fc.string({ maxLength: 1000 }),
    retry: fc.boolean(),
  }),
  fc.record({ type: fc.constant("message"), channel: name, offset, time: offset, data: text }),
  fc
    .record({ channel: name, gap, position })
    .map(({ channel, gap, position }) => ({ type: "gap" as const, channel, ...gap, position })),
  fc.record(
    { type: fc.constantFrom("join", "leave"), channel: name, client, info: text },
    { requiredKeys: ["type", "channel", "client"] },
  ),
  fc.record({
    type: fc.constant("goodbye"),
    reason: fc.string({ maxLength: 200 }),
    reconnectAfterMs: fc.nat(3_600_000),
  }),
  fc.record({ type: fc.constant("pong"), id }, { requiredKeys: ["type"] }),
);

function isChannel(channel: string): boolean {
  try {
    clientMessage({ type: "unsubscribe", channel });
    return true;
  } catch {
    return false;
  }
}

/** What the client is to get of it: the app's texts as values, and nothing that is undefined. */
function meaningOf(message: OutgoingMessage): unknown {
  const entries = Object.entries(message)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => [key, key === "data" || key === "info" ? JSON.parse(value) : value]);
  return Object.fromEntries(entries);
}

test("every message decodes to what was encoded", () => {
  fc.assert(
    fc.property(outgoing, (message) => {
      const decoded: unknown = nodeMessage(JSON.parse(encodeNodeMessage(message)));
      expect(decoded).toEqual(meaningOf(message));
    }),
    { numRuns: 2000 },
  );
});

test("a concatenated message has the bytes of the table's", () => {
  fc.assert(
    fc.property(name, offset, offset, text, (channel, at, time, data) => {
      const head = messageHead(JSON.stringify(channel));
      expect(encodeMessage(head, at, time, data)).toBe(
        encodeNodeMessage({ type: "message", channel, offset: at, time, data }),
      );
    }),
  );
});

test("a concatenated ok has the bytes of the table's; without an offset it has no position", () => {
  fc.assert(
    fc.property(id, name, position, (request, channel, { epoch, offset: at }) => {
      const head = { type: "ok", id: request, channel } as const;
      const position = { epoch, offset: Math.max(1, at) };
      const channelText = JSON.stringify(channel);
      expect(encodePublishOk(request, channelText, epoch, 0)).toBe(encodeNodeMessage(head));
      expect(encodePublishOk(request, channelText, epoch, position.offset)).toBe(
        encodeNodeMessage({ ...head, position }),
      );
    }),
  );
});

test("entries of history and presence decode to what was encoded", () => {
  fc.assert(
    fc.property(client, offset, text, fc.boolean(), (who, at, content, hasInfo) => {
      const remembered: unknown = JSON.parse(`[${encodeRemembered(at, at, content)}]`);
      expect<unknown>(rememberedList(remembered, "data")).toEqual([
        { offset: at, time: at, data: JSON.parse(content) },
      ]);
      const present: unknown = JSON.parse(`[${encodePresent(who, hasInfo ? content : undefined)}]`);
      expect<unknown>(presentList(present, "data")).toEqual([
        hasInfo ? { client: who, info: JSON.parse(content) } : { client: who },
      ]);
    }),
  );
});

test("fields keep their order, whatever order they are given in", () => {
  const gap = { reason: "expired", from: 1, to: 2 } as const;
  const position = { epoch: "e", offset: 3 };
  const message = { data: "[]", gap, more: true, recovered: false, position, channel: "c", id: 1 };
  expect(encodeNodeMessage({ ...message, type: "ok" })).toBe(
    '{"type":"ok","id":1,"channel":"c","position":{"epoch":"e","offset":3},"recovered":false,' +
      '"more":true,"gap":{"reason":"expired","from":1,"to":2},"data":[]}',
  );
});
