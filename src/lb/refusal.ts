// A connection that is not let in: it is told why, then let go. It takes no seat, so there are never many of them.

import { type Fault, faultAnswer } from "./fault.ts";
import type { Peer, PeerSocket } from "./peer.ts";
import type { Live } from "./shared.ts";

/** Refusals at a time; beyond, connections are cut without a word. */
export const REFUSALS_MAX = 32;
const LINGER_MS = 1000;

export class Refusal implements Peer, Live {
  expiresMs: number;
  readonly #socket: PeerSocket;
  readonly #all: Set<Live>;

  constructor(socket: PeerSocket, fault: Fault, clock: { readonly nowMs: number }, all: Set<Live>) {
    this.#socket = socket;
    this.#all = all;
    this.expiresMs = clock.nowMs + LINGER_MS;
    all.add(this);
    socket.write(faultAnswer(fault, false));
    socket.shutdown();
  }

  expired(): void {
    this.#socket.terminate();
  }

  stop(): void {
    this.#socket.terminate();
  }

  closed(): void {
    this.#all.delete(this);
  }

  /** What it sends is read and thrown away, so that the answer is not destroyed by a reset. */
  received(): void {}
  opened(): void {}
  drained(): void {}
  ended(): void {}
  unreachable(): void {}
}

/** Owns a socket that is nobody's business any more. */
export const NOBODY: Peer = {
  opened() {},
  received() {},
  drained() {},
  ended() {},
  closed() {},
  unreachable() {},
};
