// Message bodies: cut from a stream by their framing, and framed anew on the way out. Never sees a socket.

import { Fault } from "./fault.ts";
import type { Framing } from "./framing.ts";
import { type Field, parseField } from "./head.ts";

/** Reads one body. After `read` it is `done`, or has a `fault`, or the chunk was used up and more is needed. */
export interface BodyReader {
  readonly done: boolean;
  /** A sentence about what is malformed. */
  readonly fault: string | undefined;
  /** Bytes of content so far. */
  readonly contentBytes: number;
  readonly trailers: readonly Field[];
  /** The end of the connection is the end of the body. */
  readonly endsWithConnection: boolean;
  /** Adds the content found from `from` on to `pieces`, as views on the chunk; returns where what follows the body begins. */
  read(chunk: Buffer, from: number, pieces: Buffer[]): number;
}

const NO_TRAILERS: readonly Field[] = [];

class LengthReader implements BodyReader {
  readonly endsWithConnection = false;
  readonly fault = undefined;
  readonly trailers = NO_TRAILERS;
  contentBytes = 0;
  readonly #bytes: number;

  constructor(bytes: number) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.contentBytes === this.#bytes;
  }

  read(chunk: Buffer, from: number, pieces: Buffer[]): number {
    const end = Math.min(chunk.length, from + this.#bytes - this.contentBytes);
    if (end > from) pieces.push(from === 0 && end === chunk.length ? chunk : chunk.subarray(from, end));
    this.contentBytes += end - from;
    return end;
  }
}

/** A body that the end of the connection ends; only whoever sees that end can tell. */
class UntilCloseReader implements BodyReader {
  readonly endsWithConnection = true;
  readonly done = false;
  readonly fault = undefined;
  readonly trailers = NO_TRAILERS;
  contentBytes = 0;

  read(chunk: Buffer, from: number, pieces: Buffer[]): number {
    if (from < chunk.length) pieces.push(from === 0 ? chunk : chunk.subarray(from));
    this.contentBytes += chunk.length - from;
    return chunk.length;
  }
}

const SIZE_DIGITS_MAX = 13;
const EXTENSION_BYTES_MAX = 4096;
const TRAILER_BYTES_MAX = 8192;
const CR = 0x0d;
const LF = 0x0a;
const SEMICOLON = 0x3b;

type ChunkedState = "size" | "extension" | "size-lf" | "data" | "data-cr" | "data-lf" | "trailer" | "done";

/** RFC 9112, 7.1, without its leniencies: exact CRLFs, at most 13 digits, no white space after the size. Extensions are dropped. */
export class ChunkedReader implements BodyReader {
  readonly endsWithConnection = false;
  fault: string | undefined;
  contentBytes = 0;
  trailers: Field[] = [];
  #state: ChunkedState = "size";
  #digits = 0;
  #left = 0;
  #extensionBytes = 0;
  #trailerBytes = 0;
  #line = "";

  get done(): boolean {
    return this.#state === "done";
  }

  read(chunk: Buffer, from: number, pieces: Buffer[]): number {
    let at = from;
    while (at < chunk.length && this.#state !== "done" && this.fault === undefined) {
      if (this.#state === "data") {
        const end = Math.min(chunk.length, at + this.#left);
        pieces.push(chunk.subarray(at, end));
        this.contentBytes += end - at;
        this.#left -= end - at;
        at = end;
        if (this.#left === 0) this.#state = "data-cr";
      } else if (this.#state === "trailer") {
        at = this.#trailerLine(chunk, at);
      } else {
        this.fault = this.#frame(chunk[at++]);
      }
    }
    return at;
  }

  /** One byte of what is around the data; returns what is wrong with it. */
  #frame(byte: number): string | undefined {
    switch (this.#state) {
      case "size":
        return this.#size(byte);
      case "extension":
        if (byte === CR) this.#state = "size-lf";
        else if (byte < 0x20 && byte !== 0x09) return "a control character in a chunk extension";
        else if (++this.#extensionBytes > EXTENSION_BYTES_MAX) return "the chunk extensions are too long";
        return undefined;
      case "size-lf":
        this.#state = this.#left === 0 ? "trailer" : "data";
        this.#digits = 0;
        return byte === LF ? undefined : "a chunk size line without its LF";
      case "data-cr":
        this.#state = "data-lf";
        return byte === CR ? undefined : "a chunk longer than its size";
      default:
        this.#state = "size";
        return byte === LF ? undefined : "a chunk without its LF";
    }
  }

  #size(byte: number): string | undefined {
    const digit = hexDigit(byte);
    if (digit >= 0) {
      this.#left = this.#left * 16 + digit;
      return ++this.#digits > SIZE_DIGITS_MAX ? "a chunk size of too many digits" : undefined;
    }
    if (this.#digits === 0) return "a chunk size that is not hexadecimal";
    if (byte === CR) this.#state = "size-lf";
    else if (byte === SEMICOLON) this.#state = "extension";
    else return "a chunk size that is not hexadecimal";
    return undefined;
  }

  #trailerLine(chunk: Buffer, at: number): number {
    const lf = chunk.indexOf(LF, at);
    const end = lf < 0 ? chunk.length : lf + 1;
    this.#trailerBytes += end - at;
    if (this.#trailerBytes > TRAILER_BYTES_MAX) {
      this.fault = "the trailers are too long";
      return end;
    }
    this.#line += chunk.toString("latin1", at, end);
    if (lf < 0) return end;
    const line = this.#line;
    this.#line = "";
    if (line === "\r\n") this.#state = "done";
    else if (!line.endsWith("\r\n")) this.fault = "a bare LF in the trailers";
    else this.#trailer(parseField(line.slice(0, -2)));
    return end;
  }

  #trailer(field: Field | string): void {
    if (typeof field === "string") this.fault = `in the trailers: ${field}`;
    else this.trailers.push(field);
  }
}

function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const letter = byte | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1;
}

/** The reader of a body; undefined where there is none to read. */
export function bodyReader(framing: Framing): BodyReader | undefined {
  if (framing.kind === "chunked") return new ChunkedReader();
  if (framing.kind === "close") return new UntilCloseReader();
  return framing.kind === "length" && framing.bytes > 0 ? new LengthReader(framing.bytes) : undefined;
}

const CRLF = Buffer.from("\r\n");
const NOTHING = Buffer.alloc(0);

/** Content in one piece, as `framing` frames it; `done` after the last of it, with the trailers that may pass. */
export function frameContent(framing: Framing, pieces: readonly Buffer[], done: boolean, trailers: string): Buffer {
  if (framing.kind !== "chunked") return pieces.length === 1 ? pieces[0] : Buffer.concat(pieces);
  let bytes = 0;
  for (const piece of pieces) bytes += piece.length;
  const last = done ? Buffer.from(`0\r\n${trailers}\r\n`, "latin1") : NOTHING;
  if (bytes === 0) return last;
  return Buffer.concat([Buffer.from(`${bytes.toString(16)}\r\n`), ...pieces, CRLF, last]);
}

/** A malformed body of a request, as the client is told. */
export const bodyFault = (message: string): Fault => new Fault(400, `the body is malformed: ${message}`);
