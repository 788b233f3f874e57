// Writes to one socket: gathers small pieces into one system call, and keeps what the socket did
// not take.

import { type ByteSink, WriteBuffer } from "./byte-sink.ts";
import type { OwnedSocket } from "./socket-owner.ts";

/** Pieces up to this size are copied together into one system call. */
const GATHER_BYTES_MAX = 64 * 1024;

/**
 * What one writer has written since its last flush. All writers share it: a system call takes the
 * memory as it is, and nothing is allocated.
 */
class Gathering {
  readonly buffer = new WriteBuffer(2 * GATHER_BYTES_MAX);
  writer: SocketWriter | undefined;
}
const gathering = new Gathering();

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
    gathering.buffer.text(latin1);
  }

  bytes(source: Buffer, start: number, end: number): void {
    this.#begin();
    if (end - start <= GATHER_BYTES_MAX) return gathering.buffer.bytes(source, start, end);
    this.flush();
    this.#send(source, start, end);
  }

  /** False: the socket takes no more now; pause the source and wait for `socketDrained`. */
  flush(): boolean {
    if (gathering.writer === this) {
      const { buffer } = gathering;
      gathering.writer = undefined;
      const { length } = buffer;
      buffer.length = 0;
      if (length > 0) this.#send(buffer.buffer, 0, length);
    }
    return this.#unsent === undefined;
  }

  /** Sends what is unsent. True: nothing is left. */
  writeUnsent(): boolean {
    if (this.#unsent !== undefined) this.#unsent = sendNow(this.#socket, this.#unsent);
    return this.#unsent === undefined;
  }

  #begin(): void {
    if (gathering.writer === this) return;
    gathering.writer?.flush();
    gathering.writer = this;
  }

  #send(source: Buffer, start: number, end: number): void {
    if (this.#unsent !== undefined) {
      this.#unsent = Buffer.concat([this.#unsent, source.subarray(start, end)]);
      return;
    }
    const taken = Math.max(0, this.#socket.write(source, start, end - start));
    if (taken === end - start) return;
    const rest = source.subarray(start + taken, end);
    this.#unsent = source === gathering.buffer.buffer ? Buffer.from(rest) : rest;
  }
}

/**
 * What the socket did not take; a closed socket (−1) takes nothing and reports it by its callback.
 */
export function sendNow(socket: OwnedSocket, bytes: Buffer): Buffer | undefined {
  const taken = socket.write(bytes);
  return taken >= bytes.length ? undefined : bytes.subarray(Math.max(0, taken));
}
