// The strict parser of HTTP/1.1 heads (RFC 9112), for requests and responses: bytes in, start line
// and fields out. It does not interpret fields, and never sees a socket.

import { HttpFault } from "./faults.ts";
import { Fields, FieldsFault, TOO_MANY_FIELDS } from "./fields.ts";

export type HeadLimits = {
  readonly headBytesMax: number;
  readonly targetBytesMax: number;
  readonly headFieldsMax: number;
};

export type RequestLine = {
  readonly method: string;
  readonly target: string;
  readonly minor: 0 | 1;
};
export type StatusLine = {
  readonly status: number;
  readonly reason: string;
  readonly minor: 0 | 1;
};

/** The start line and the faults of one kind of head. */
export type HeadKind<Start> = {
  /** Empty lines that are allowed before the start line. */
  readonly blankLinesMax: number;
  readonly startLine: (line: string, limits: HeadLimits) => Start | HttpFault;
  /** A longer start line is `startLineTooLong`. */
  readonly startLineBytesMax: (limits: HeadLimits) => number;
  readonly startLineTooLong: HttpFault;
  readonly tooLarge: HttpFault;
  readonly malformed: (message: string) => HttpFault;
};

const REQUEST_LINE = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!"$-~]+) HTTP\/(\d)\.(\d)$/;
const STATUS_LINE = /^HTTP\/1\.([01]) ([1-5]\d\d)(?: ([\t\x20-\x7e\x80-\xff]*))?$/;
const METHOD_AND_VERSION_BYTES = 64;

const TARGET_TOO_LONG = new HttpFault(414, "the request target is too long");
const ANSWER_TOO_LARGE = new HttpFault(502, "the head of the answer is too large");

function requestLine(line: string, limits: HeadLimits): RequestLine | HttpFault {
  const match = REQUEST_LINE.exec(line);
  if (match === null) return new HttpFault(400, "the request line is malformed");
  const [, method, target, major, minor] = match;
  if (target.length > limits.targetBytesMax) return TARGET_TOO_LONG;
  if (major === "0") return new HttpFault(400, "HTTP/0.9 is not spoken here");
  if (major !== "1" || (minor !== "0" && minor !== "1"))
    return new HttpFault(505, "this is an HTTP/1.1 server");
  return { method, target, minor: minor === "1" ? 1 : 0 };
}

function statusLine(line: string): StatusLine | HttpFault {
  const match = STATUS_LINE.exec(line);
  if (match === null) return new HttpFault(502, "the status line of the answer is malformed");
  return { status: Number(match[2]), reason: match[3] ?? "", minor: match[1] === "1" ? 1 : 0 };
}

export const REQUEST: HeadKind<RequestLine> = {
  blankLinesMax: 4,
  startLine: requestLine,
  startLineBytesMax: (limits) => limits.targetBytesMax + METHOD_AND_VERSION_BYTES,
  startLineTooLong: TARGET_TOO_LONG,
  tooLarge: new HttpFault(431, "the request head is too large"),
  malformed: (message) => new HttpFault(400, `in the head: ${message}`),
};

export const RESPONSE: HeadKind<StatusLine> = {
  blankLinesMax: 0,
  startLine: statusLine,
  startLineBytesMax: (limits) => limits.headBytesMax,
  startLineTooLong: ANSWER_TOO_LARGE,
  tooLarge: ANSWER_TOO_LARGE,
  malformed: (message) => new HttpFault(502, `in the head of the answer: ${message}`),
};

const CR = 0x0d;
const LF = 0x0a;
const NOTHING = Buffer.alloc(0);
const KEPT_BYTES_MIN = 512;

/** All readers share one table: each head is used before the next is read. */
const fields = new Fields();

/**
 * Reads consecutive heads from a stream in arbitrary chunks. After `read`, either `start` is set
 * (and `fields` is valid until the next read), or `fault` is, or more bytes are needed.
 */
export class HeadReader<Start> {
  start: Start | undefined;
  fault: HttpFault | undefined;
  readonly #kind: HeadKind<Start>;
  readonly #limits: HeadLimits;
  /** The beginning of an incomplete head. */
  #kept: Buffer = NOTHING;
  #keptBytes = 0;
  #startLineIsWhole = false;
  #blankBytes = 0;

  constructor(kind: HeadKind<Start>, limits: HeadLimits) {
    this.#kind = kind;
    this.#limits = limits;
  }

  get fields(): Fields {
    return fields;
  }

  /** Whether an incomplete head has begun; preceding empty lines do not count. */
  get begun(): boolean {
    return this.#keptBytes > this.#blankBytes;
  }

  /** Reads `chunk` from `from` on; returns the offset after the head. */
  read(chunk: Buffer, from: number): number {
    this.start = undefined;
    if (this.#keptBytes === 0) {
      const end = this.#parse(chunk, from, chunk.length);
      if (this.start === undefined && this.fault === undefined)
        this.#keep(chunk, from, chunk.length);
      return end;
    }
    const known = this.#keptBytes;
    const to = Math.min(chunk.length, from + this.#limits.headBytesMax + 1 - known);
    const mayWait =
      this.#startLineIsWhole || known + to - from <= this.#kind.startLineBytesMax(this.#limits);
    this.#keep(chunk, from, to);
    if (mayWait && this.#keptBytes <= this.#limits.headBytesMax && !endsALine(chunk, from, to))
      return to;
    const end = this.#parse(this.#kept, 0, this.#keptBytes);
    return this.start === undefined ? to : from + end - known;
  }

  #done(start: Start): void {
    this.start = start;
    this.#kept = NOTHING;
    this.#keptBytes = 0;
    this.#startLineIsWhole = false;
    this.#blankBytes = 0;
  }

  /**
   * Parses the head at `from`. A head that arrives in pieces is parsed again from its beginning:
   * rare, and bounded.
   */
  #parse(bytes: Buffer, from: number, available: number): number {
    const kind = this.#kind;
    const limits = this.#limits;
    const to = Math.min(available, from + limits.headBytesMax);
    const lineStart = this.#skipBlankLines(bytes, from, to);
    if (this.fault !== undefined) return available;
    this.#blankBytes = lineStart - from;
    const lineEnd = bytes.indexOf(LF, lineStart);
    if (lineEnd < 0 || lineEnd >= to) {
      this.fault = this.#unfinishedStartLine(bytes, lineStart, to, available);
      return available;
    }
    if (lineEnd === lineStart || bytes[lineEnd - 1] !== CR)
      return this.#fail(kind.malformed("a bare LF"), available);
    const start = kind.startLine(bytes.toString("latin1", lineStart, lineEnd - 1), limits);
    if (start instanceof HttpFault) return this.#fail(start, available);
    this.#startLineIsWhole = true;
    const end = fields.read(bytes, lineEnd + 1, to, limits.headFieldsMax);
    if (typeof end === "number") {
      this.#done(start);
      return end;
    }
    if (end === TOO_MANY_FIELDS || (end === "incomplete" && available > to))
      return this.#fail(kind.tooLarge, available);
    if (end instanceof FieldsFault) return this.#fail(kind.malformed(end.message), available);
    return available;
  }

  #fail(fault: HttpFault, at: number): number {
    this.fault = fault;
    return at;
  }

  #skipBlankLines(bytes: Buffer, from: number, to: number): number {
    let at = from;
    for (let blankLines = 0; at + 1 < to && bytes[at] === CR && bytes[at + 1] === LF; at += 2) {
      if (++blankLines > this.#kind.blankLinesMax)
        this.fault ??= this.#kind.malformed("empty lines before it");
    }
    return at;
  }

  #unfinishedStartLine(
    bytes: Buffer,
    lineStart: number,
    to: number,
    available: number,
  ): HttpFault | undefined {
    if (to - lineStart > this.#kind.startLineBytesMax(this.#limits))
      return this.#kind.startLineTooLong;
    if (available > to) return this.#kind.tooLarge;
    const carriageReturn = bytes.indexOf(CR, lineStart);
    return carriageReturn >= 0 && carriageReturn < to - 1
      ? this.#kind.malformed("a bare CR")
      : undefined;
  }

  #keep(chunk: Buffer, from: number, to: number): void {
    const bytes = this.#keptBytes + to - from;
    if (bytes > this.#kept.length) {
      const grown = Buffer.allocUnsafe(Math.max(bytes, 2 * this.#kept.length, KEPT_BYTES_MIN));
      this.#kept.copy(grown, 0, 0, this.#keptBytes);
      this.#kept = grown;
    }
    chunk.copy(this.#kept, this.#keptBytes, from, to);
    this.#keptBytes = bytes;
  }
}

/** Whether the bytes contain a CR or an LF. */
function endsALine(chunk: Buffer, from: number, to: number): boolean {
  const lf = chunk.indexOf(LF, from);
  const cr = chunk.indexOf(CR, from);
  return (lf >= 0 && lf < to) || (cr >= 0 && cr < to);
}
