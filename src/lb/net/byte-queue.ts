// Bytes that came before their turn, in the order they came.

export class ByteQueue {
  bytes = 0;
  #pieces: Buffer[] = [];

  append(piece: Buffer): void {
    this.#pieces.push(piece);
    this.bytes += piece.length;
  }

  /** All of them, in one piece; none are left. */
  takeAll(): Buffer | undefined {
    if (this.bytes === 0) return undefined;
    const taken =
      this.#pieces.length === 1 ? this.#pieces[0] : Buffer.concat(this.#pieces, this.bytes);
    this.#pieces = [];
    this.bytes = 0;
    return taken;
  }
}
