// Where written messages go: a socket writer, or a draft in memory.

export interface ByteSink {
  /** Text with one byte per character. */
  text(latin1: string): void;
  /** A range of `source`, which may change afterwards. */
  bytes(source: Buffer, start: number, end: number): void;
}

/** Takes what nobody wants any more. */
export const DISCARD: ByteSink = { text() {}, bytes() {} };

/** Gathers what is written in one piece of memory, which is used again and again. */
export class WriteBuffer implements ByteSink {
  length = 0;
  buffer: Buffer;

  constructor(bytes: number) {
    this.buffer = Buffer.allocUnsafe(bytes);
  }

  text(latin1: string): void {
    this.#makeRoom(latin1.length);
    this.length += this.buffer.write(latin1, this.length, "latin1");
  }

  bytes(source: Buffer, start: number, end: number): void {
    this.#makeRoom(end - start);
    this.length += source.copy(this.buffer, this.length, start, end);
  }

  /** A copy of what was written; clears the draft. */
  takeCopy(): Buffer {
    const taken = Buffer.allocUnsafe(this.length);
    this.buffer.copy(taken, 0, 0, this.length);
    this.length = 0;
    return taken;
  }

  #makeRoom(bytes: number): void {
    if (this.length + bytes <= this.buffer.length) return;
    const grown = Buffer.allocUnsafe(Math.max(this.length + bytes, 2 * this.buffer.length));
    this.buffer.copy(grown, 0, 0, this.length);
    this.buffer = grown;
  }
}
