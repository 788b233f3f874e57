// The two ends of every connection as the rest of the lb sees them: what may happen to a socket
// (Peer), and what one socket still has to send (Outlet). All sockets share one table of callbacks;
// `socket.data` says whose they are.

import type { Socket } from "bun";
import type { Logger } from "../../runtime/log.ts";
import { type ByteSink, WriteBuffer } from "./byte-sink.ts";

/**
 * Whoever owns a socket. After `closed` nothing else comes. `hasFailed`: it was reset, not ended.
 */
export interface SocketOwner {
  opened(socket: OwnedSocket): void;
  received(chunk: Buffer): void;
  drained(): void;
  /** The other side has sent its FIN; ours may still be open. */
  ended(): void;
  closed(hasFailed: boolean): void;
  /** It could not be dialed. */
  unreachable(code: string): void;
}

export type OwnedSocket = Socket<SocketOwner>;

/** Owns a socket that is nobody's business any more. */
export const NOBODY: SocketOwner = {
  opened() {},
  received() {},
  drained() {},
  ended() {},
  closed() {},
  unreachable() {},
};

export type SocketCallbacks = {
  open(socket: OwnedSocket): void;
  data(socket: OwnedSocket, chunk: Buffer): void;
  drain(socket: OwnedSocket): void;
  end(socket: OwnedSocket): void;
  close(socket: OwnedSocket, error?: Error): void;
  error(socket: OwnedSocket, error: Error): void;
  connectError(socket: OwnedSocket, error: Error): void;
};

/**
 * The callbacks of all sockets. What is thrown inside one ends that connection, not the other ten
 * thousand.
 */
export function socketCallbacks(log: Logger, open: (socket: OwnedSocket) => void): SocketCallbacks {
  return {
    open,
    data: (socket, chunk) => socket.data.received(chunk),
    drain: (socket) => socket.data.drained(),
    end: (socket) => socket.data.ended(),
    close: (socket, error) => socket.data.closed(error !== undefined && error !== null),
    error(socket, error) {
      log.error({ err: error }, "a connection was ended by an error of the lb");
      socket.terminate();
    },
    connectError: (socket, error) => socket.data.unreachable(codeOf(error)),
  };
}

export const codeOf = (error: unknown): string =>
  error instanceof Error && "code" in error && typeof error.code === "string"
    ? error.code
    : "unknown";

/** Up to here what is written is gathered, by copying, into one system call. */
const GATHER_BYTES_MAX = 64 * 1024;

/**
 * What is written between two flushes. All outlets share it: each system call takes it as it is,
 * nothing is allocated.
 */
const draft = new WriteBuffer(2 * GATHER_BYTES_MAX);
let drafting: SocketWriter | undefined;

/**
 * Writes to a socket and keeps what it does not take: as much as the source has sent before it was
 * paused, no more.
 */
export class SocketWriter implements ByteSink {
  readonly #socket: OwnedSocket;
  #unsent: Buffer | undefined;

  constructor(socket: OwnedSocket) {
    this.#socket = socket;
  }

  get isBlocked(): boolean {
    return this.#unsent !== undefined;
  }

  get unsent(): Buffer | undefined {
    return this.#unsent;
  }

  /** Takes effect with the next `flush`, as `bytes` does. */
  text(latin1: string): void {
    this.#begin();
    draft.text(latin1);
  }

  bytes(source: Buffer, start: number, end: number): void {
    this.#begin();
    if (end - start <= GATHER_BYTES_MAX) return draft.bytes(source, start, end);
    this.flush();
    this.#send(source, start, end);
  }

  /** False: the socket takes no more now; pause the source and wait for `drained`. */
  flush(): boolean {
    if (drafting === this) {
      drafting = undefined;
      const { length } = draft;
      draft.length = 0;
      if (length > 0) this.#send(draft.buffer, 0, length);
    }
    return this.#unsent === undefined;
  }

  /** Sends on. True: nothing is left. */
  drained(): boolean {
    if (this.#unsent !== undefined) this.#unsent = sendNow(this.#socket, this.#unsent);
    return this.#unsent === undefined;
  }

  #begin(): void {
    if (drafting === this) return;
    drafting?.flush();
    drafting = this;
  }

  #send(source: Buffer, start: number, end: number): void {
    if (this.#unsent !== undefined) {
      this.#unsent = Buffer.concat([this.#unsent, source.subarray(start, end)]);
      return;
    }
    const taken = Math.max(0, this.#socket.write(source, start, end - start));
    if (taken === end - start) return;
    const rest = source.subarray(start + taken, end);
    this.#unsent = source === draft.buffer ? Buffer.from(rest) : rest;
  }
}

/** What the socket did not take; a closed one (−1) takes nothing, and says so by its callback. */
export function sendNow(socket: OwnedSocket, bytes: Buffer): Buffer | undefined {
  const taken = socket.write(bytes);
  return taken >= bytes.length ? undefined : bytes.subarray(Math.max(0, taken));
}
