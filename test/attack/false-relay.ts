// A stranger takes the port of a relay that was killed, before its successor can, and passes
// itself off as the relay: it opens, acknowledges and welcomes. Nobody may believe it.

import type { Socket, TCPSocketListener } from "bun";
import { Attacker } from "./attacker.ts";
import { add } from "./report.ts";
import type { Attack, Target } from "./stage.ts";
import { frame } from "./strangers.ts";

const LISTEN_WITHIN_MS = 3000;
const HELLO = 1;
const OPEN = 0x20;
const PUBLISH = 0x10;
const NONCE = new Uint8Array(16);
const PROOF = new Uint8Array(32);
const WELCOME = frame(4, "relay-1", "f".repeat(16), 3_600_000, 1000);
const CHALLENGE = frame(2, NONCE, PROOF);

/** What it answers a HELLO with. */
const GREETINGS: Readonly<Record<string, Uint8Array>> = {
  "WELCOME at once": WELCOME,
  "CHALLENGE with a wrong proof": CHALLENGE,
  "CHALLENGE with a wrong proof, and WELCOME": Buffer.concat([CHALLENGE, WELCOME]),
  "WELCOME, then CHALLENGE": Buffer.concat([WELCOME, CHALLENGE]),
};

class FalseRelay implements Disposable {
  /** HELLOs it got, and what else: whoever sends that has believed it. */
  hellos = 0;
  believed = 0;
  readonly #greeting: Uint8Array;
  readonly #sockets = new Set<Socket<undefined>>();
  readonly #listener: TCPSocketListener<undefined>;

  /** Throws where the port is taken. */
  constructor(port: number, greeting: Uint8Array) {
    this.#greeting = greeting;
    this.#listener = Bun.listen<undefined>({
      hostname: "127.0.0.1",
      port,
      socket: {
        open: (socket) => void this.#sockets.add(socket),
        close: (socket) => void this.#sockets.delete(socket),
        error: () => {},
        data: (socket, chunk) => this.#hear(socket, Buffer.from(chunk)),
      },
    });
  }

  /** Frames come whole, as good as always: what is cut in two is not answered. */
  #hear(socket: Socket<undefined>, bytes: Buffer): void {
    for (let at = 0; at + 6 <= bytes.length; at += 4 + bytes.readUInt32BE(at)) {
      const opcode = bytes[at + 5];
      if (opcode === HELLO) {
        this.hellos++;
        socket.write(this.#greeting);
        continue;
      }
      this.believed++;
      if (opcode === OPEN) socket.write(opened(bytes, at));
      if (opcode === PUBLISH) socket.write(frame(0x12, [1]));
    }
  }

  [Symbol.dispose](): void {
    this.#listener.stop(true);
    for (const socket of this.#sockets) socket.terminate();
  }
}

/** OPENED for the channel of the OPEN at that place: its name is the first field, a text. */
function opened(bytes: Buffer, at: number): Buffer {
  const head = bytes[at + 6];
  const [start, length] = head === 0xd9 ? [at + 8, bytes[at + 7]] : [at + 7, head & 0x1f];
  const channel = bytes.toString("utf8", start, start + length);
  return frame(0x21, channel, 1, "false", 1, 0, "expired", null, 0, 0);
}

/** Kills the relay and takes its port. */
async function usurp(target: Target, greeting: Uint8Array): Promise<FalseRelay> {
  await target.cluster.kill("relay-1");
  const deadline = performance.now() + LISTEN_WITHIN_MS;
  for (;;) {
    try {
      return new FalseRelay(target.relayPort, greeting);
    } catch (error) {
      if (performance.now() > deadline) throw error;
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
}

async function reign(target: Target, name: string, greeting: Uint8Array): Promise<void> {
  await target.cluster.until("relay-1", ({ state }) => state === "up");
  using client = await Attacker.open(target.address, target.told);
  {
    using relay = await usurp(target, greeting);
    client.send({ type: "publish", id: 1, channel: "room:secret", data: "for the relay alone" });
    await Bun.sleep(target.seconds * 1000);
    if (client.answers.get(1)?.type === "ok")
      target.wrong.push(`${name}: a client's publication was acknowledged`);
    if (relay.believed > 0) target.wrong.push(`${name}: ${relay.believed} messages to a stranger`);
    if (relay.hellos === 0) target.wrong.push(`${name}: nobody dialed, nothing is shown`);
    add(target.told, "HELLO", relay.hellos);
  }
}

async function run(target: Target): Promise<string> {
  for (const [name, greeting] of Object.entries(GREETINGS)) await reign(target, name, greeting);
  return `the relay killed and its port taken ${Object.keys(GREETINGS).length} times, ${target.seconds} s each`;
}

export const falseRelays: readonly Attack[] = [
  { name: "false-relay", seconds: 0.5, ends: ["relay-1"], run },
];
