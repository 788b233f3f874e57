// Fuzz targets of the client protocol: a node's decoders in both encodings, and the client's.

import { Packr } from "msgpackr";
import { Core } from "../../src/client/core.ts";
import { decodeFrame, type Encoding, frameOf } from "../../src/node/codec/encoding.ts";
import { clientMessage, requestIdOf } from "../../src/wire/client-messages.ts";
import { Malformed } from "../../src/wire/shape.ts";
import type { Random } from "./random.ts";
import { must, type Target, unless, utf8 } from "./target.ts";

const REQUESTS = [
  { type: "connect", id: "c", token: "token", producer: "0123456789abcdef" },
  { type: "subscribe", id: 1, channel: "room:1", since: { epoch: "e1", offset: 7 } },
  { type: "subscribe", id: 1.5, channel: "räume", last: 10 },
  {
    type: "publish",
    id: 2,
    channel: "room:1",
    data: { text: "hi", list: [1, -2, 3.5, null, true, "é"] },
    seq: 3,
  },
  { type: "publish", channel: "room:1", data: "x", key: "k".repeat(128) },
  {
    type: "history",
    id: 4,
    channel: "room:1",
    since: { epoch: "e1", offset: 0 },
    limit: 1000,
    reverse: true,
  },
  { type: "presence", id: 5, channel: "room:1" },
  { type: "call", id: 6, method: "toString", params: { __proto__: null, constructor: 1 } },
  { type: "get-users", id: 7 },
  { type: "ping", id: 8 },
  [[[[[[{ deep: [[[[]]]] }]]]]]],
];

const packer = new Packr({ useRecords: false });
const isPlain = (value: unknown): boolean =>
  typeof value !== "object" ||
  value === null ||
  (Array.isArray(value)
    ? value.every(isPlain)
    : Object.getPrototypeOf(value) === Object.prototype && Object.values(value).every(isPlain));

/** An accepted message is plain JSON, encodes in both encodings, and does not touch prototypes. */
function takeRequest(encoding: Encoding, frame: string | Uint8Array): void {
  const value = unless(Malformed, () => decodeFrame(encoding, frame));
  if (value === undefined) return;
  must(isPlain(value), "a decoded value is not plain");
  const json = JSON.stringify(value);
  must(typeof json === "string", "a decoded value cannot be said in JSON");
  frameOf("msgpack", json);
  requestIdOf(value);
  unless(Malformed, () => clientMessage(value));
  must(Object.keys(Object.prototype).length === 0, "Object.prototype has got a key");
}

const decoder = new TextDecoder();
export const requestsInJson: Target = {
  name: "requests-in-json",
  share: 8,
  good: REQUESTS.map((request) => utf8(JSON.stringify(request))),
  take: (input) => takeRequest("json", decoder.decode(input)),
};
export const requestsInMsgpack: Target = {
  name: "requests-in-msgpack",
  share: 10,
  good: REQUESTS.map((request) => new Uint8Array(packer.pack(JSON.parse(JSON.stringify(request))))),
  take: (input) => takeRequest("msgpack", input),
};

const LIMITS = { frameBytes: 65_536, dataBytes: 64_512, subscriptions: 100, unacknowledged: 256 };
const POSITION = { epoch: "e1", offset: 5 };
const ANSWERS = [
  { type: "welcome", session: "s", node: "node-1", pingMs: 25_000, limits: LIMITS },
  { type: "ok", id: "connect" },
  {
    type: "ok",
    id: "s1",
    channel: "room",
    position: POSITION,
    recovered: false,
    gap: { reason: "slow", from: 1, to: 5 },
  },
  { type: "ok", id: "p1", channel: "room", position: POSITION },
  { type: "ok", id: "r3", data: [{ offset: 1, time: 2, data: {} }], more: true },
  { type: "error", id: "p1", code: "busy", message: "later", retry: true },
  { type: "error", id: "s1", code: "refused", message: "no", retry: false },
  { type: "error", code: "bad_frame", message: "what?", retry: false },
  { type: "message", channel: "room", offset: 6, time: 1_700_000_000_000, data: { text: "hi" } },
  {
    type: "gap",
    channel: "room",
    reason: "epoch",
    from: 6,
    to: 9,
    position: { epoch: "e2", offset: 9 },
  },
  { type: "join", channel: "room", client: "x", info: {} },
  { type: "goodbye", reason: "bye", reconnectAfterMs: 10 },
  { type: "pong" },
];

/** The client's state machine, connected and with requests in flight. */
function busyClient(random: Random): Core {
  const core = new Core("0123456789abcdef0123456789abcdef", () => random.below(1000) / 1000);
  core.step({ type: "start" }, 0);
  core.step({ type: "opened", token: undefined }, 0);
  core.step({ type: "subscribe", ticket: 1, reader: 1, channel: "room", start: undefined }, 0);
  core.step({ type: "publish", ticket: 2, channel: "room", json: "1", key: undefined }, 0);
  core.step(
    { type: "request", ticket: 3, frame: { type: "presence", channel: "room" }, timeoutMs: 1000 },
    0,
  );
  for (const answer of ANSWERS.slice(0, 2))
    core.step({ type: "text", text: JSON.stringify(answer) }, 1);
  return core;
}

export const answersToTheClient: Target = {
  name: "answers-to-the-client",
  share: 8,
  good: ANSWERS.map((answer) => utf8(JSON.stringify(answer))),
  take(input, random) {
    const core = busyClient(random);
    core.step({ type: "text", text: decoder.decode(input) }, 2);
    for (const answer of ANSWERS) core.step({ type: "text", text: JSON.stringify(answer) }, 3);
    core.step({ type: "close", withinMs: 0 }, 4);
    must(core.isEnded, "the client cannot be closed any more");
  },
};
