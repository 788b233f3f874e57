// Where frames end in one direction of a WebSocket, and the code of its close frame (RFC 6455, 5).
// It goes from frame header to frame header and never looks at what messages hold. Pure.

const OPCODE = 0x0f;
const CLOSE = 0x8;
const MASKED = 0x80;
const LENGTH = 0x7f;
/** What is reported of a close frame without a code (RFC 6455, 7.4.1). */
const NO_CODE = 1005;

export class FrameScanner {
  /** Undefined: no close frame has come. */
  code: number | undefined;
  /** Bytes of the frame under way that have not come. */
  #left = 0;
  /** The beginning of a header that was cut. */
  #cut: Buffer | undefined;

  /** The next byte begins a frame, and may: no close frame has come. */
  get isBetweenFrames(): boolean {
    return this.#left === 0 && this.#cut === undefined && this.code === undefined;
  }

  /** Takes the next bytes of the direction. */
  read(chunk: Buffer): void {
    if (this.code !== undefined) return;
    if (this.#cut === undefined) return this.#read(chunk);
    const joined = Buffer.concat([this.#cut, chunk]);
    this.#cut = undefined;
    this.#read(joined);
  }

  #read(bytes: Buffer): void {
    const { length } = bytes;
    let at = this.#left;
    while (at < length) {
      const next = this.#frame(bytes, at, length - at);
      if (this.code !== undefined) return;
      if (next === 0) {
        this.#cut = Buffer.from(bytes.subarray(at));
        this.#left = 0;
        return;
      }
      at += next;
    }
    this.#left = at - length;
  }

  /** The bytes of the frame that begins here; 0: so few cannot tell. */
  #frame(bytes: Buffer, at: number, available: number): number {
    if (available < 2) return 0;
    const second = bytes[at + 1];
    const maskBytes = second & MASKED ? 4 : 0;
    const content = second & LENGTH;
    if ((bytes[at] & OPCODE) === CLOSE) return this.#close(bytes, at, available, maskBytes);
    if (content < 126) return 2 + maskBytes + content;
    if (content === 126) {
      if (available < 4) return 0;
      return 4 + maskBytes + bytes[at + 2] * 256 + bytes[at + 3];
    }
    if (available < 10) return 0;
    return 10 + maskBytes + bytes.readUInt32BE(at + 2) * 2 ** 32 + bytes.readUInt32BE(at + 6);
  }

  #close(bytes: Buffer, at: number, available: number, maskBytes: number): number {
    if ((bytes[at + 1] & LENGTH) < 2) {
      this.code = NO_CODE;
      return 0;
    }
    if (available < 4 + maskBytes) return 0;
    const content = bytes.readUInt16BE(at + 2 + maskBytes);
    this.code = maskBytes === 0 ? content : content ^ bytes.readUInt16BE(at + 2);
    return 0;
  }
}
