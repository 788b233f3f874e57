// Frames that are wrong in one value: numbers out of range, names that objects have, half
// surrogates, nesting, control characters; in both encodings. Each is answered with its id, or its
// connection is closed with a code of the table.

import { CLOSES } from "../../src/wire/codes.ts";
import { type Fields, pack, type Value } from "../protocol/stranger.ts";
import { Attacker, type Encoding } from "./attacker.ts";
import type { Attack, Target } from "./stage.ts";

const ANSWER_WITHIN_MS = 3000;
const ROUNDS_MAX = 40;
/** Enough to show, in the short form as well. */
const WRONG_MAX = 20;
const AT_ONCE = 16;
const CLOSE_CODES = new Set<number>(Object.values(CLOSES).map(({ code }) => code));

const NUMBERS = [2 ** 53 - 1, 2 ** 53, 2 ** 53 - 2, -1, -(2 ** 63), 0.5, 1e308, 2 ** 64];
const NAMES = ["room:\0", "room:\u001b[2J", "room:\u202e", "room:\ud800", "\n", "room:\uffff"];

function nested(depth: number): Value {
  let value: Value = 1;
  for (let level = 0; level < depth; level++) value = [value];
  return value;
}

/** Requests as they are to arrive; the id is added to each. */
function poison(): Fields[] {
  const positions = NUMBERS.map((offset) => ({ epoch: "x", offset }));
  const channel = "room:poison";
  return [
    ...positions.flatMap((since): Fields[] => [
      { type: "subscribe", channel, since },
      { type: "subscribe", channel: "$everyone", since },
      { type: "history", channel: "$everyone", since },
      { type: "history", channel: "$everyone", since, reverse: true },
    ]),
    ...NUMBERS.flatMap((number): Fields[] => [
      { type: "history", channel: "$everyone", limit: number },
      { type: "subscribe", channel, last: number },
      { type: "publish", channel, data: number, seq: number },
      { type: "publish", channel, data: number, ttl: number, ttlMs: number, time: number },
    ]),
    ...NAMES.flatMap((name): Fields[] => [
      { type: "subscribe", channel: name },
      { type: "publish", channel: name, data: 1 },
      { type: "publish", channel, data: 1, key: name },
      { type: "publish", channel, data: name },
      { type: "call", method: name },
    ]),
    { type: "subscribe", channel, since: { epoch: "\ud800", offset: 1 } },
    { type: "subscribe", channel, since: { epoch: "x".repeat(1000), offset: 1 } },
    { type: "publish", channel, data: { ["__proto__"]: { admin: true }, constructor: 1 } },
    { type: "publish", channel, data: [["a", "\ud800", { "\udfff": "\ud83d" }]] },
    ...[64, 65, 66, 200, 2000].map((depth) => ({ type: "publish", channel, data: nested(depth) })),
    { type: "call", method: "__proto__", params: nested(70) },
  ];
}

function encoded(encoding: Encoding, message: Fields): string | Uint8Array<ArrayBuffer> {
  if (encoding === "json") return JSON.stringify(message);
  const bytes = new Uint8Array(pack(message));
  // `pack` replaces half surrogates, for which UTF-8 has no bytes; these three have none either.
  for (let at = 0; at < bytes.length - 2; at++)
    if (bytes[at] === 0xef && bytes[at + 1] === 0xbf && bytes[at + 2] === 0xbd)
      bytes.set([0xed, 0xa0, 0x80], at);
  return bytes;
}

/** Sends one request on a connection of its own; says what is wrong with what comes of it. */
async function dose(target: Target, encoding: Encoding, request: Fields) {
  using attacker = await Attacker.open(target.address, target.told, { encoding });
  if (attacker.node === undefined) {
    target.wrong.push(`a client is not let in: closed ${attacker.closeCode}`);
    return;
  }
  attacker.send(encoded(encoding, { ...request, id: 1 }));
  await attacker.until(() => attacker.answers.has(1), ANSWER_WITHIN_MS);
  if (attacker.answers.has(1)) return;
  const { closeCode } = attacker;
  if (closeCode !== undefined && CLOSE_CODES.has(closeCode)) return;
  const shown = JSON.stringify(request).slice(0, 120);
  target.wrong.push(`no answer with its id in ${encoding}, closed ${closeCode}: ${shown}`);
}

/** An id that is wrong itself cannot be answered with it; the connection still lives, or is closed. */
async function badIds({ address, told, wrong }: Target): Promise<void> {
  for (const id of ['"\\ud800"', "1e999", "{}", '"\\u0000"', "9007199254740993", "[[]]"]) {
    using attacker = await Attacker.open(address, told);
    attacker.send(`{"type":"history","channel":"$everyone","id":${id}}`);
    const answer = await attacker.ask({ type: "ping", id: 7 });
    if (answer === undefined && !CLOSE_CODES.has(attacker.closeCode ?? 0))
      wrong.push(`after the id ${id} nothing is answered`);
  }
}

async function run(target: Target): Promise<string> {
  const requests = poison();
  const deadline = performance.now() + target.seconds * 1000;
  let rounds = 0;
  do {
    for (const encoding of ["json", "msgpack"] as const)
      for (let at = 0; at < requests.length && target.wrong.length < WRONG_MAX; at += AT_ONCE)
        await Promise.all(
          requests.slice(at, at + AT_ONCE).map((request) => dose(target, encoding, request)),
        );
    await badIds(target);
    rounds++;
  } while (performance.now() < deadline && rounds < ROUNDS_MAX && target.wrong.length === 0);
  return `${rounds} rounds of ${2 * requests.length} requests with a wrong value, in both encodings`;
}

export const poisons: readonly Attack[] = [{ name: "poison", seconds: 1, run }];
