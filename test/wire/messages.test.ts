import { describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { Packr } from "msgpackr";
import { clientMessage, nodeMessage } from "../../src/wire/client-messages.ts";
import { OFFSET_MAX, resume } from "../../src/wire/position.ts";
import {
  decodeRelayMessage,
  encodeRelayMessage,
  type RelayMessage,
  readRelayMessage,
} from "../../src/wire/relay-messages.ts";
import { Malformed } from "../../src/wire/shape.ts";

setDefaultTimeout(60_000);

const packer = new Packr({ useRecords: false });

// The msgpack decoder renames the key "__proto__", as it should.
const name = fc.stringMatching(/^[a-z0-9:._-]{1,40}$/).filter((text) => text !== "__proto__");
const u32 = fc.nat(0xffff_ffff);
const offset = fc.nat(OFFSET_MAX);
const position = fc.record({ epoch: fc.stringMatching(/^[a-f0-9]{1,16}$/), offset });
const policy = fc.record({ size: fc.nat(1_000_000), ttlMs: offset, bytes: offset });
const binary = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const gap = fc.record({
  reason: fc.constantFrom("expired", "evicted", "epoch", "slow"),
  from: offset,
  to: offset,
});
const type = <T extends string>(word: T) => fc.constant(word);
const trimmed = fc.constantFrom("expired", "evicted");

const relayMessage: fc.Arbitrary<RelayMessage> = fc.oneof(
  fc.record({
    type: type("hello"),
    version: u32,
    role: fc.constantFrom("node", "lb"),
    id: name,
    nonce: binary(16),
  }),
  fc.record({ type: type("challenge"), nonce: binary(16), proof: binary(32) }),
  fc.record({ type: type("prove"), proof: binary(32) }),
  fc.record({ type: type("ping") }),
  fc.record({ type: type("bye"), reason: name, message: fc.string({ maxLength: 100 }) }),
  fc.record({
    type: type("ack"),
    outcomes: fc.array(fc.integer({ min: -16, max: Number.MAX_SAFE_INTEGER })),
  }),
  fc.record({
    type: type("open"),
    channel: name,
    live: fc.boolean(),
    presence: fc.boolean(),
    policy,
    since: fc.option(position),
  }),
  fc.record({
    type: type("opened"),
    channel: name,
    id: u32,
    epoch: name.map((text) => text.slice(0, 32)),
    first: offset,
    top: offset,
    trimmed,
    gap: fc.option(gap),
    missed: u32,
    members: u32,
  }),
  fc.record({
    type: type("history"),
    request: u32,
    id: u32,
    since: fc.option(position),
    limit: fc.nat(10_000),
    reverse: fc.boolean(),
  }),
  fc.record({
    type: type("register"),
    address: name,
    state: fc.constantFrom("starting", "up", "draining"),
    connections: u32,
    counts: fc.dictionary(name, u32, { maxKeys: 5 }),
  }),
  fc.record({ type: type("enter"), id: u32, client: name, info: binary(20) }),
);

describe("relay messages", () => {
  test("come back as they were sent", () => {
    fc.assert(
      fc.property(relayMessage, (message) => {
        const frame = encodeRelayMessage(message);
        const decoded = decodeRelayMessage(frame, 0, frame.length);
        expect(JSON.stringify(decoded)).toBe(JSON.stringify(JSON.parse(JSON.stringify(message))));
      }),
    );
  });

  test("any change of a byte gives another message or Malformed, nothing else", () => {
    fc.assert(
      fc.property(relayMessage, fc.nat(), fc.nat(255), (message, where, value) => {
        const frame = encodeRelayMessage(message);
        frame[4 + (where % (frame.length - 4))] = value;
        try {
          decodeRelayMessage(frame, 0, frame.length);
        } catch (error) {
          expect(error).toBeInstanceOf(Malformed);
        }
      }),
      { numRuns: 2000 },
    );
  });

  test("a page is readable whatever position it was asked for", () => {
    const since = { epoch: "e", offset: OFFSET_MAX };
    for (const epoch of ["e", "another"]) {
      const readable = { epoch, first: 1, top: 0, trimmed: "expired" } as const;
      const { gap } = resume(since, readable);
      const page = { type: "page", request: 1, found: true, ...readable, gap, count: 0 } as const;
      const frame = encodeRelayMessage(page);
      expect(decodeRelayMessage(frame, 0, frame.length)).toEqual(page);
    }
  });

  test("what can be read of a message with a wrong field is told, with what is wrong", () => {
    const frame = encodeRelayMessage({
      ...{ type: "history", request: 7, id: 3, since: { epoch: "e", offset: OFFSET_MAX + 1 } },
      ...{ limit: 5, reverse: false },
    });
    expect(readRelayMessage(frame, 0, frame.length)).toEqual({
      type: "invalid",
      readable: { type: "history", request: 7, id: 3, limit: 5, reverse: false },
      reason: `history.since.offset must be a whole number from 0 to ${OFFSET_MAX}`,
    });
    expect(() => decodeRelayMessage(frame, 0, frame.length)).toThrow(Malformed);
  });

  test("an opcode that is no integer is Malformed", () => {
    for (const opcode of [{ toString: 1, valueOf: 1 }, "5", 5.5, null, [5], -1, 200]) {
      const body = packer.pack([opcode]);
      const frame = Buffer.concat([Buffer.from([0, 0, 0, body.length]), body]);
      expect(() => readRelayMessage(frame, 0, frame.length)).toThrow(Malformed);
    }
  });

  test("garbage is Malformed", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 2, maxLength: 300 }), (body) => {
        const frame = Buffer.concat([Buffer.from([0, 0, 0, body.length]), body]);
        try {
          decodeRelayMessage(frame, 0, frame.length);
        } catch (error) {
          expect(error).toBeInstanceOf(Malformed);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe("client messages", () => {
  test("a known type is checked field by field", () => {
    expect(
      clientMessage({
        type: "subscribe",
        channel: "news",
        since: { epoch: "e", offset: 3 },
        extra: 1,
      }),
    ).toEqual({
      type: "subscribe",
      channel: "news",
      since: { epoch: "e", offset: 3 },
    });
    for (const bad of [
      { type: "subscribe" },
      { type: "subscribe", channel: "two words" },
      { type: "subscribe", channel: "news", since: { epoch: "e", offset: -1 } },
      { type: "subscribe", channel: "news", since: { epoch: "e", offset: OFFSET_MAX + 1 } },
      { type: "history", channel: "news", since: { epoch: "e", offset: 2 ** 53 } },
      { type: "subscribe", channel: "news", since: "e:3" },
      { type: "publish", channel: "news" },
      { type: "publish", channel: "news", data: 1, seq: 0 },
      { type: "history", channel: "news", limit: 1001 },
      { type: "call" },
      { type: 5 },
      { id: 1 },
      [],
      null,
      "text",
    ])
      expect(() => clientMessage(bad)).toThrow(Malformed);
  });

  test("any other type is a call of the app's method of that name", () => {
    const frame = { type: "get-users", id: 7, page: 2 };
    expect(clientMessage(frame)).toEqual({
      type: "call",
      method: "get-users",
      params: frame,
      id: 7,
    });
    expect(clientMessage({ type: "constructor" })).toMatchObject({
      type: "call",
      method: "constructor",
    });
    expect(clientMessage({ type: "__proto__" })).toMatchObject({
      type: "call",
      method: "__proto__",
    });
  });

  test("prototype keys come to nothing", () => {
    const message = clientMessage(
      JSON.parse(
        '{"type":"subscribe","channel":"a","__proto__":{"since":{"epoch":"e","offset":1}}}',
      ),
    );
    expect(message).toEqual({ type: "subscribe", channel: "a" });
    expect(Object.getPrototypeOf(message)).toBe(Object.prototype);
    expect(() => clientMessage(Object.create({ type: "ping" }))).toThrow(Malformed);
  });

  test("an answer of a later version is passed over, a broken one is not", () => {
    expect(nodeMessage({ type: "weather", degrees: 20 })).toBeUndefined();
    expect(nodeMessage({ type: "pong" })).toEqual({ type: "pong" });
    expect(() => nodeMessage({ type: "message", channel: "a" })).toThrow(Malformed);
  });
});
