// Strangers on the relay's port: what they send is nothing, half of a HELLO, garbage, or the
// messages of a relay. None of them stays longer than the handshake may take.

import net from "node:net";
import { RELAY_PROTOCOL_VERSION } from "../../src/wire/relay-messages.ts";
import { eventually } from "../eventually.ts";
import { pack, type Value } from "../protocol/stranger.ts";
import { add } from "./report.ts";
import type { Attack, Target } from "./stage.ts";

const SOCKETS = 400;
/** Beyond the 5 s of the handshake: the sweep's second, the 2 s of ending, and a busy machine. */
const GONE_WITHIN_MS = 10_000;
const CONNECT_WITHIN_MS = 5000;

export function frame(...values: Value[]): Buffer {
  const body = pack(values);
  const head = Buffer.alloc(4);
  head.writeUInt32BE(body.length);
  return Buffer.concat([head, body]);
}

const NONCE = new Uint8Array(16);
const PROOF = new Uint8Array(32);
const hello = frame(1, RELAY_PROTOCOL_VERSION, "node", "node-1", NONCE);
/** What a number cannot be made of. */
const NO_NUMBER = { toString: 1, valueOf: 1 };

const BARE_HELLO = "a HELLO and no proof";

/** What each kind of stranger sends. */
const KINDS: Readonly<Record<string, (target: Target) => Uint8Array>> = {
  silent: () => Buffer.alloc(0),
  "half of a HELLO": () => hello.subarray(0, 9),
  "an opcode that is a map": () => frame(NO_NUMBER, 1),
  "an opcode that is a list": () => frame([[NO_NUMBER]], 1),
  "fields that are maps": () => frame(1, NO_NUMBER, NO_NUMBER, NO_NUMBER, NO_NUMBER),
  "a HELLO of another release": () => frame(1, RELAY_PROTOCOL_VERSION - 1, "node", "node-1", NONCE),
  [BARE_HELLO]: () => hello,
  "a wrong proof": () => Buffer.concat([hello, frame(3, PROOF)]),
  "a WELCOME": () => frame(4, "relay-1", "lineage", 0, 1000),
  "a CHALLENGE": () => Buffer.concat([hello, frame(2, NONCE, PROOF)]),
  "a proof before the HELLO": () => frame(3, PROOF),
  "members' messages": () => Buffer.concat([hello, frame(0x31), frame(0x05), frame(0x22, 1)]),
  "a great length": () => Buffer.from([0xff, 0xff, 0xff, 0xff, 0x91]),
  "bytes at random": ({ random }) => random.bytes(1 + random.below(400)),
};

async function run(target: Target): Promise<string> {
  const kinds = Object.entries(KINDS);
  const open = new Map<net.Socket, string>();
  try {
    const connected = Array.from({ length: SOCKETS }, (_, i) => {
      const [kind, bytes] = kinds[i % kinds.length];
      return stranger(target, kind, bytes(target), open);
    });
    await Promise.all(connected);
    const waiting = { withinMs: GONE_WITHIN_MS, what: "strangers" };
    await eventually(
      () => open.size,
      (left) => left === 0,
      waiting,
    ).catch(() => {});
    if (target.told[`challenged: ${BARE_HELLO}`] === undefined)
      target.wrong.push("no HELLO was challenged");
    for (const kind of open.values()) add(target.told, `stays: ${kind}`);
    if (open.size > 0) target.wrong.push(`${open.size} of ${SOCKETS} strangers stay`);
  } finally {
    for (const socket of open.keys()) socket.destroy();
  }
  return `${SOCKETS} sockets of ${kinds.length} kinds on the relay's port`;
}

/** Length and array header precede the opcode. */
const isChallenge = (bytes: Buffer): boolean => bytes[5] === 2;

/** Resolves when it is connected, or cannot be. */
function stranger(
  { relayPort, told }: Target,
  kind: string,
  bytes: Uint8Array,
  open: Map<net.Socket, string>,
): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const socket = net.connect(relayPort, "127.0.0.1");
  const timer = setTimeout(resolve, CONNECT_WITHIN_MS);
  open.set(socket, kind);
  socket.on("connect", () => {
    if (bytes.length > 0) socket.write(bytes);
    resolve();
  });
  socket.once("data", (bytes: Buffer) =>
    add(told, `${isChallenge(bytes) ? "challenged" : "refused"}: ${kind}`),
  );
  socket.resume();
  socket.on("error", () => {});
  socket.on("close", () => {
    clearTimeout(timer);
    open.delete(socket);
    resolve();
  });
  return promise.finally(() => clearTimeout(timer));
}

export const strangers: readonly Attack[] = [{ name: "strangers", seconds: 1, run }];
