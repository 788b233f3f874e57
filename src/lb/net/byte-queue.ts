// A queue of bytes that arrived before they can be used.

export class ByteQueue {
  bytes = 0;
  #pieces: Buffer[] = [];

  append(piece: Buffer): void {
    this.#pieces.push(piece);
    this.bytes += piece.length;
  }

  /** Removes and returns all bytes, in one piece. */
  takeAll(): Buffer | undefined {
    if (this.bytes === 0) return undefined;
    const taken =
      this.#pieces.length === 1 ? this.#pieces[0] : Buffer.concat(this.#pieces, this.bytes);
    this.#pieces = [];
    this.bytes = 0;
    return taken;
  }
}
