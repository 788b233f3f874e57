// Message bodies: split off a stream by their framing, and framed anew when written. Never sees a
// socket.

import type { ByteSink } from "../net/byte-sink.ts";
import { type ExtensionState, extensionBegins, nextInExtension } from "./chunk-extension.ts";
import { Fields, FieldsFault } from "./fields.ts";
import type { Framing } from "./framing.ts";

/** Reads one body. After `read`, it is `done` or has a `fault`, or needs more than this chunk. */
export interface BodyReader {
  readonly done: boolean;
  /** A sentence that says what is malformed. */
  readonly fault: string | undefined;
  /** Bytes of content so far. */
  readonly contentBytes: number;
  /** The trailers of a complete body; undefined: none. */
  readonly trailers: Fields | undefined;
  /** The end of the connection is the end of the body. */
  readonly endsWithConnection: boolean;
  /**
   * Appends the ranges of the content in `chunk` from `from` on (start, end, …); returns the offset
   * after the body.
   */
  read(chunk: Buffer, from: number, places: number[]): number;
}

class LengthReader implements BodyReader {
  readonly fault = undefined;
  readonly trailers = undefined;
  readonly endsWithConnection = false;
  contentBytes = 0;
  readonly #bytes: number;

  constructor(bytes: number) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.contentBytes === this.#bytes;
  }

  read(chunk: Buffer, from: number, places: number[]): number {
    const end = Math.min(chunk.length, from + this.#bytes - this.contentBytes);
    if (end > from) places.push(from, end);
    this.contentBytes += end - from;
    return end;
  }
}

/** A body that ends with the connection; only the owner of the socket sees its end. */
class UntilCloseReader implements BodyReader {
  readonly done = false;
  readonly fault = undefined;
  readonly trailers = undefined;
  readonly endsWithConnection = true;
  contentBytes = 0;

  read(chunk: Buffer, from: number, places: number[]): number {
    if (from < chunk.length) places.push(from, chunk.length);
    this.contentBytes += chunk.length - from;
    return chunk.length;
  }
}

const SIZE_DIGITS_MAX = 13;
const EXTENSION_BYTES_MAX = 4096;
const TRAILER_BYTES_MAX = 8192;
const TRAILERS_MAX = 64;
const LF = 0x0a;
const CR = 0x0d;

type ChunkedState =
  | "size"
  | "extension"
  | "size-lf"
  | "data"
  | "data-cr"
  | "data-lf"
  | "trailers"
  | "done";

/**
 * RFC 9112, 7.1, without its leniencies: exact CRLFs, at most 13 digits, no white space after the
 * size but before an extension. Extensions are checked and dropped.
 */
export class ChunkedReader implements BodyReader {
  readonly endsWithConnection = false;
  fault: string | undefined;
  contentBytes = 0;
  trailers: Fields | undefined;
  #state: ChunkedState = "size";
  #digits = 0;
  #left = 0;
  #extension: ExtensionState = "before-name";
  #extensionBytes = 0;
  #trailerBytes: Buffer | undefined;

  get done(): boolean {
    return this.#state === "done";
  }

  read(chunk: Buffer, from: number, places: number[]): number {
    let at = from;
    while (at < chunk.length && this.#state !== "done" && this.fault === undefined) {
      if (this.#state === "data") {
        const end = Math.min(chunk.length, at + this.#left);
        places.push(at, end);
        this.contentBytes += end - at;
        this.#left -= end - at;
        at = end;
        if (this.#left === 0) this.#state = "data-cr";
      } else if (this.#state === "trailers") {
        at = this.#readTrailers(chunk, at);
      } else {
        this.fault = this.#frame(chunk[at++]);
      }
    }
    return at;
  }

  /** Reads one framing byte; returns what is wrong with it. */
  #frame(byte: number): string | undefined {
    switch (this.#state) {
      case "size":
        return this.#size(byte);
      case "extension":
        return this.#extend(byte);
      case "size-lf":
        this.#state = this.#left === 0 ? "trailers" : "data";
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
    if (byte === CR) {
      this.#state = "size-lf";
      return undefined;
    }
    const extension = extensionBegins(byte);
    if (extension === undefined) return "a chunk size that is not hexadecimal";
    this.#state = "extension";
    this.#extension = extension;
    return undefined;
  }

  #extend(byte: number): string | undefined {
    const next = nextInExtension(this.#extension, byte);
    if (next === undefined) return "a malformed chunk extension";
    if (next === "end") this.#state = "size-lf";
    else if (++this.#extensionBytes > EXTENSION_BYTES_MAX)
      return "the chunk extensions are too long";
    else this.#extension = next;
    return undefined;
  }

  /** Trailers that arrive in pieces are parsed again from their beginning: rare, and bounded. */
  #readTrailers(chunk: Buffer, at: number): number {
    const known = this.#trailerBytes?.length ?? 0;
    const to = Math.min(chunk.length, at + TRAILER_BYTES_MAX - known);
    const bytes =
      this.#trailerBytes === undefined
        ? chunk
        : Buffer.concat([this.#trailerBytes, chunk.subarray(at, to)]);
    const from = this.#trailerBytes === undefined ? at : 0;
    const trailers = new Fields();
    const end = trailers.read(bytes, from, from + known + to - at, TRAILERS_MAX);
    if (end instanceof FieldsFault) this.fault = `in the trailers: ${end.message}`;
    else if (end === "incomplete" && known + to - at >= TRAILER_BYTES_MAX)
      this.fault = "the trailers are too long";
    else if (end === "incomplete")
      this.#trailerBytes = Buffer.from(bytes.subarray(from, from + known + to - at));
    if (typeof end !== "number") return to;
    this.#state = "done";
    if (trailers.count > 0) this.trailers = trailers;
    return at + end - from - known;
  }
}

function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const letter = byte | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1;
}

/** The reader of a body; undefined: there is no body. */
export function bodyReader(framing: Framing): BodyReader | undefined {
  if (framing.kind === "chunked") return new ChunkedReader();
  if (framing.kind === "close") return new UntilCloseReader();
  return framing.kind === "length" && framing.bytes > 0
    ? new LengthReader(framing.bytes)
    : undefined;
}

/**
 * Writes the content that `body` found in `chunk`, framed as `framing`; after the last content, the
 * end with the permitted trailers.
 */
export function writeContent(
  framing: Framing,
  body: BodyReader,
  chunk: Buffer,
  places: readonly number[],
  output: ByteSink,
): void {
  let bytes = 0;
  for (let at = 0; at < places.length; at += 2) bytes += places[at + 1] - places[at];
  const isChunked = framing.kind === "chunked";
  if (isChunked && bytes > 0) output.text(`${bytes.toString(16)}\r\n`);
  for (let at = 0; at < places.length; at += 2) output.bytes(chunk, places[at], places[at + 1]);
  if (isChunked && bytes > 0) output.text("\r\n");
  if (!isChunked || !body.done) return;
  output.text("0\r\n");
  const { trailers } = body;
  trailers?.write((line) => mayTrail(trailers.name(line)), output);
  output.text("\r\n");
}

// Fields for routing, framing or authorization must come before the content (RFC 9110, 6.5.1).
const MUST_LEAD: ReadonlySet<string> = new Set(
  (
    "content-length transfer-encoding host connection keep-alive proxy-connection te trailer " +
    "upgrade authorization proxy-authorization proxy-authenticate www-authenticate cookie " +
    "set-cookie expect range max-forwards cache-control content-encoding content-type " +
    "content-range via forwarded x-real-ip location"
  ).split(" "),
);

const mayTrail = (name: string): boolean =>
  !name.includes("_") && !MUST_LEAD.has(name) && !name.startsWith("x-forwarded-");
