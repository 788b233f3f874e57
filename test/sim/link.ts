// The connecting end of a relay link as src/runtime/link.ts is: it dials, proves the secret, pings,
// notices silence, and dials again. On simulated cables and time.

import type { LinkPort } from "../../src/node/uplink/uplink.ts";
import { type LinkEvents, redialMs } from "../../src/runtime/link.ts";
import { FRAME_BYTES_MAX, FrameDecoder, opcodeOf, PUBLICATION } from "../../src/wire/frame.ts";
import { linkProof } from "../../src/wire/proof.ts";
import {
  decodeRelayMessage,
  encodeRelayMessage,
  type RelayMessage,
} from "../../src/wire/relay-messages.ts";
import { Cable, type Network } from "./cable.ts";
import type { Process } from "./process.ts";
import type { SimRelay } from "./relay.ts";

export const SECRET = "a secret that tests share";
const NONCE = new Uint8Array(16);
const DIAL_TIMEOUT_MS = 2000;
const PING_MS = 1000;
const SILENT_MS = 3000;

export type LinkRole = "node" | "lb";

export class SimLink implements LinkPort {
  readonly #network: Network;
  readonly #process: Process;
  readonly #relay: SimRelay;
  readonly #role: LinkRole;
  readonly #events: LinkEvents;
  #cable: Cable<Uint8Array> | undefined;
  #decoder = new FrameDecoder(FRAME_BYTES_MAX);
  #phase: "idle" | "greeting" | "up" | "closed" = "idle";
  /** Counts the dials: what an older one plans does not happen. */
  #dial = 0;
  #awaySinceMs: number | undefined;
  #heardAt = 0;

  constructor(
    network: Network,
    process: Process,
    relay: SimRelay,
    role: LinkRole,
    events: LinkEvents,
  ) {
    this.#network = network;
    this.#process = process;
    this.#relay = relay;
    this.#role = role;
    this.#events = events;
    process.after(0, () => this.#begin());
  }

  get isUp(): boolean {
    return this.#phase === "up";
  }

  get cable(): Cable<Uint8Array> | undefined {
    return this.#cable;
  }

  send(frame: Uint8Array): void {
    // A copy: what is sent again may be patched then.
    if (this.#phase === "up") this.#cable?.send(0, frame.slice());
  }

  sendMessage(message: RelayMessage): void {
    this.send(encodeRelayMessage(message));
  }

  close(): void {
    this.#phase = "closed";
    this.#dial++;
    this.#cable?.close(0, 1000);
  }

  #begin(): void {
    if (this.#phase === "closed") return;
    const dial = ++this.#dial;
    const isCurrent = () => dial === this.#dial;
    this.#phase = "greeting";
    this.#decoder = new FrameDecoder(FRAME_BYTES_MAX);
    const cable: Cable<Uint8Array> = new Cable<Uint8Array>(this.#network, [
      {
        process: this.#process,
        receive: (bytes) => {
          if (isCurrent()) this.#receive(bytes);
        },
        closed: () => {
          if (isCurrent()) this.#lose("closed");
        },
      },
      this.#relay.accept(() => cable),
    ]);
    this.#cable = cable;
    if (!this.#relay.process.isAlive)
      return this.#process.after(1, () => isCurrent() && this.#lose("unreachable"));
    const { name } = this.#process;
    cable.send(
      0,
      encodeRelayMessage({ type: "hello", version: 1, role: this.#role, id: name, nonce: NONCE }),
    );
    this.#process.after(DIAL_TIMEOUT_MS, () => {
      if (isCurrent() && this.#phase === "greeting") this.#lose("dial_timeout");
    });
  }

  #receive(bytes: Uint8Array): void {
    this.#heardAt = this.#network.clock.now;
    this.#decoder.feed(bytes, (...frame) => this.#frame(...frame));
  }

  #frame(bytes: Uint8Array, start: number, end: number): boolean {
    if (this.#phase === "up" && opcodeOf(bytes, start) === PUBLICATION)
      this.#events.publication(bytes, start, end);
    else this.#message(decodeRelayMessage(bytes, start, end));
    return this.#phase === "up" || this.#phase === "greeting";
  }

  #message(message: RelayMessage): void {
    if (message.type === "bye") {
      this.#lose(message.reason);
    } else if (message.type === "challenge") {
      const proof = linkProof(SECRET, NONCE, message.nonce, this.#role, this.#process.name);
      this.#cable?.send(0, encodeRelayMessage({ type: "prove", proof }));
    } else if (message.type === "welcome") {
      this.#phase = "up";
      this.#awaySinceMs = undefined;
      this.#watchSilence(this.#dial, this.#network.clock.now);
      this.#events.welcome(message);
    } else if (message.type === "ping") {
      this.sendMessage({ type: "pong" });
    } else if (message.type !== "pong") {
      this.#events.message(message);
    }
  }

  #watchSilence(dial: number, tickedAt: number): void {
    this.#process.after(PING_MS, () => {
      if (dial !== this.#dial) return;
      const { now } = this.#network.clock;
      const overslept = now - tickedAt > 2 * PING_MS;
      if (!overslept && now - this.#heardAt > SILENT_MS) return this.#lose("silent");
      this.sendMessage({ type: "ping" });
      this.#watchSilence(dial, now);
    });
  }

  #lose(reason: string): void {
    const wasUp = this.#phase === "up";
    this.#dial++;
    this.#cable?.close(0, 1000);
    this.#phase = "idle";
    const { now } = this.#network.clock;
    this.#awaySinceMs ??= now;
    const delayMs = redialMs(now - this.#awaySinceMs, this.#network.random());
    const dial = this.#dial;
    this.#process.after(delayMs, () => {
      if (dial === this.#dial) this.#begin();
    });
    this.#events.lost(reason, wasUp);
  }
}
