// Ends a connection after its last answer: sends what is unsent, then a FIN, and discards what
// still arrives, so that a reset does not destroy the answer on its way.

import type { ConnectionSlot } from "../accept/admission.ts";
import type { TerminationCause } from "../http/termination.ts";
import type { Expiring } from "../net/expiring.ts";
import type { OwnedSocket, SocketOwner } from "../net/socket-owner.ts";
import type { SocketWriter } from "../net/socket-writer.ts";
import type { LoadBalancerContext } from "./context.ts";

/** How long, and how much, is read and thrown away. */
const LINGER_MS = 2000;
const LINGER_BYTES_MAX = 16 * 1024 * 1024;

export type Leaving = {
  readonly socket: OwnedSocket;
  readonly writer: SocketWriter;
  /** Its place in this lb, given back when the socket has closed; undefined: it was given none. */
  readonly slot: ConnectionSlot | undefined;
  /** What is over when the client has taken all of its answer, or never will. */
  readonly trailing: { settle(failure: TerminationCause | undefined): void } | undefined;
};

export class LingeringClose implements SocketOwner, Expiring {
  expiresMs = 0;
  readonly #context: Pick<LoadBalancerContext, "clock" | "options">;
  readonly #all: Set<Expiring>;
  readonly #leaving: Leaving;
  #lingeredBytes = 0;

  /** `all`: the connections that the sweep watches. */
  constructor(
    context: Pick<LoadBalancerContext, "clock" | "options">,
    all: Set<Expiring>,
    leaving: Leaving,
  ) {
    this.#context = context;
    this.#all = all;
    this.#leaving = leaving;
    leaving.socket.data = this;
    all.add(this);
    leaving.socket.resume();
    this.#goOn();
  }

  bytesReceived(chunk: Buffer): void {
    this.#lingeredBytes += chunk.length;
    if (this.#lingeredBytes > LINGER_BYTES_MAX) this.#leaving.socket.terminate();
  }

  socketDrained(): void {
    this.#leaving.writer.writeUnsent();
    this.#goOn();
  }

  socketClosed(): void {
    this.#settle("clientAborted");
    this.#leaving.slot?.release();
    this.#all.delete(this);
  }

  expired(): void {
    this.#settle("clientTimeout");
    this.#leaving.socket.terminate();
  }

  #goOn(): void {
    const { clock, options } = this.#context;
    const { socket, writer } = this.#leaving;
    if (writer.isBlocked) {
      this.expiresMs = clock.nowMs + options.numbers.stallTimeoutMs;
      return;
    }
    this.#settle(undefined);
    this.expiresMs = clock.nowMs + LINGER_MS;
    socket.shutdown();
  }

  /** Only the first outcome counts. */
  #settle(failure: TerminationCause | undefined): void {
    this.#leaving.trailing?.settle(failure);
  }

  /** It is ending as soon as can be. */
  stop(): void {}
  socketOpened(): void {}
  endReceived(): void {}
  dialFailed(): void {}
}
