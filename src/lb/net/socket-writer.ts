// Writes to one socket: collects small pieces into one system call, and buffers what the socket
// does not accept.

import { type ByteSink, WriteBuffer } from "./byte-sink.ts";
import type { OwnedSocket } from "./socket-owner.ts";

/** Pieces up to this size are copied together into one system call. */
const GATHER_BYTES_MAX = 64 * 1024;

/**
 * What one writer has written since its last flush. All writers share the buffer, because a system
 * call copies it before the next writer uses it.
 */
class Gathering {
  readonly buffer = new WriteBuffer(2 * GATHER_BYTES_MAX);
  writer: SocketWriter | undefined;
}
const gathering = new Gathering();

/**
 * Writes to a socket and buffers what it does not accept: at most what the source sent before it
 * was paused.
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

  /** False: the socket accepts no more now; pause the source and wait for `socketDrained`. */
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

  /** Sends buffered bytes. True: none are left. */
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
 * The bytes that the socket did not accept; a closed socket (−1) accepts none and reports it by its
 * callback.
 */
export function sendNow(socket: OwnedSocket, bytes: Buffer): Buffer | undefined {
  const taken = socket.write(bytes);
  return taken >= bytes.length ? undefined : bytes.subarray(Math.max(0, taken));
}
