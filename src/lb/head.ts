// The strict reader of HTTP/1.1 heads (RFC 9112), for requests and responses alike: bytes in, start line and fields out.
// It knows lines and fields, not what they mean, and never sees a socket.

import { Fault } from "./fault.ts";

/** One field line. `key` is the name in lower case; `value` holds one character per byte (latin1), trimmed. */
export type Field = { readonly name: string; readonly key: string; readonly value: string };

export type HeadLimits = {
  readonly headBytesMax: number;
  readonly targetBytesMax: number;
  readonly headFieldsMax: number;
};

export type RequestLine = { readonly method: string; readonly target: string; readonly minor: 0 | 1 };
export type StatusLine = { readonly status: number; readonly reason: string; readonly minor: 0 | 1 };
export type Head<Start> = { readonly start: Start; readonly fields: readonly Field[] };

/** How one kind of head begins, and how its faults are told. */
export type HeadKind<Start> = {
  /** Empty lines that may come before the start line. */
  readonly blankLinesMax: number;
  readonly startLine: (line: string, limits: HeadLimits) => Start | Fault;
  /** The fault of a start line that goes on beyond this many bytes. */
  readonly startLineBytesMax: (limits: HeadLimits) => number;
  readonly startLineTooLong: Fault;
  readonly tooLarge: Fault;
  readonly malformed: (message: string) => Fault;
};

const REQUEST_LINE = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!"$-~]+) HTTP\/(\d)\.(\d)$/;
const STATUS_LINE = /^HTTP\/1\.([01]) ([1-5]\d\d)(?: ([\t\x20-\x7e\x80-\xff]*))?$/;
const METHOD_AND_TARGET_SPACE = 64;

function requestLine(line: string, limits: HeadLimits): RequestLine | Fault {
  const match = REQUEST_LINE.exec(line);
  if (match === null) return new Fault(400, "the request line is malformed");
  const [, method, target, major, minor] = match;
  if (target.length > limits.targetBytesMax) return TARGET_TOO_LONG;
  if (major === "0") return new Fault(400, "HTTP/0.9 is not spoken here");
  if (major !== "1" || Number(minor) > 1) return new Fault(505, "this is an HTTP/1.1 server");
  return { method, target, minor: minor === "1" ? 1 : 0 };
}

function statusLine(line: string): StatusLine | Fault {
  const match = STATUS_LINE.exec(line);
  if (match === null) return new Fault(502, "the status line of the answer is malformed");
  return { status: Number(match[2]), reason: match[3] ?? "", minor: match[1] === "1" ? 1 : 0 };
}

const TARGET_TOO_LONG = new Fault(414, "the request target is too long");

export const REQUEST: HeadKind<RequestLine> = {
  blankLinesMax: 4,
  startLine: requestLine,
  startLineBytesMax: (limits) => limits.targetBytesMax + METHOD_AND_TARGET_SPACE,
  startLineTooLong: TARGET_TOO_LONG,
  tooLarge: new Fault(431, "the request head is too large"),
  malformed: (message) => new Fault(400, message),
};

export const RESPONSE: HeadKind<StatusLine> = {
  blankLinesMax: 0,
  startLine: statusLine,
  startLineBytesMax: (limits) => limits.headBytesMax,
  startLineTooLong: new Fault(502, "the head of the answer is too large"),
  tooLarge: new Fault(502, "the head of the answer is too large"),
  malformed: (message) => new Fault(502, `the answer is malformed: ${message}`),
};

// One group for the whole value and a trim by hand: leading white space as a group of its own would backtrack quadratically.
const FIELD_LINE = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):([\t\x20-\x7e\x80-\xff]*)$/;
const BLANK_LINE = Buffer.from("\r\n\r\n");
const SPACE = 0x20;
const TAB = 0x09;

/** The field in a line without its CRLF, or what is wrong with it. */
export function parseField(line: string): Field | string {
  const match = FIELD_LINE.exec(line);
  if (match === null) return whatIsWrong(line);
  const name = match[1];
  return { name, key: name.toLowerCase(), value: trim(match[2]) };
}

function whatIsWrong(line: string): string {
  if (line.startsWith(" ") || line.startsWith("\t")) return "a line begins with white space";
  if (line.includes("\0")) return "a NUL byte";
  if (line.includes("\r")) return "a bare CR";
  const colon = line.indexOf(":");
  if (colon < 0) return "a field line without a colon";
  if (/[\t ]$/.test(line.slice(0, colon))) return "white space before a colon";
  if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(line.slice(0, colon))) return "a field name that is not a token";
  return "a control character in a field value";
}

function trim(value: string): string {
  let start = 0;
  let end = value.length;
  while (start < end && isBlank(value.charCodeAt(start))) start++;
  while (end > start && isBlank(value.charCodeAt(end - 1))) end--;
  return value.slice(start, end);
}

const isBlank = (code: number): boolean => code === SPACE || code === TAB;

/**
 * Reads one head after another from a stream that may be cut anywhere. After `read`, either `head` or `fault` is set, or the
 * chunk was used up and more is needed. `next` forgets a finished head.
 */
export class HeadReader<Start> {
  head: Head<Start> | undefined;
  fault: Fault | undefined;
  readonly #kind: HeadKind<Start>;
  readonly #limits: HeadLimits;
  #text = "";
  #at = 0;
  #blankLines = 0;
  #start: Start | undefined;
  #fields: Field[] = [];

  constructor(kind: HeadKind<Start>, limits: HeadLimits) {
    this.#kind = kind;
    this.#limits = limits;
  }

  /** Whether an unfinished head has begun; empty lines before it do not count. */
  get begun(): boolean {
    return this.head === undefined && (this.#start !== undefined || this.#text.length > this.#at);
  }

  next(): void {
    this.head = undefined;
    this.#text = "";
    this.#at = 0;
    this.#blankLines = 0;
    this.#start = undefined;
    this.#fields = [];
  }

  /** Takes bytes from `from` on; returns where what follows the head begins. */
  read(chunk: Buffer, from: number): number {
    let at = from;
    while (at < chunk.length && this.head === undefined && this.fault === undefined) {
      const room = this.#limits.headBytesMax + 1 - this.#text.length;
      const blankLine = chunk.indexOf(BLANK_LINE, at);
      const to = Math.min(blankLine < 0 ? chunk.length : blankLine + BLANK_LINE.length, at + room);
      this.#text += chunk.toString("latin1", at, to);
      at = to;
      this.#lines();
    }
    return this.head === undefined ? at : at - this.#text.length + this.#at;
  }

  #lines(): void {
    while (this.head === undefined && this.fault === undefined) {
      const end = this.#text.indexOf("\n", this.#at);
      if (end < 0) {
        this.fault = this.#unfinished();
        return;
      }
      this.fault = this.#line(end);
      this.#at = end + 1;
    }
  }

  #line(end: number): Fault | undefined {
    if (end === this.#at || this.#text.charCodeAt(end - 1) !== 0x0d) return this.#kind.malformed("a bare LF");
    const line = this.#text.slice(this.#at, end - 1);
    if (this.#start === undefined) return this.#startLine(line);
    if (line === "") {
      if (end >= this.#limits.headBytesMax) return this.#kind.tooLarge;
      this.head = { start: this.#start, fields: this.#fields };
      return undefined;
    }
    if (this.#fields.length >= this.#limits.headFieldsMax) return this.#kind.tooLarge;
    const field = parseField(line);
    if (typeof field === "string") return this.#kind.malformed(field);
    this.#fields.push(field);
    return undefined;
  }

  #startLine(line: string): Fault | undefined {
    if (line === "" && this.#blankLines < this.#kind.blankLinesMax) {
      this.#blankLines++;
      return undefined;
    }
    const start = this.#kind.startLine(line, this.#limits);
    if (start instanceof Fault) return start;
    this.#start = start;
    return undefined;
  }

  /** What can be said about a head whose last line has not ended yet. */
  #unfinished(): Fault | undefined {
    const pending = this.#text.length - this.#at;
    if (this.#start === undefined && pending > this.#kind.startLineBytesMax(this.#limits))
      return this.#kind.startLineTooLong;
    if (this.#text.length > this.#limits.headBytesMax) return this.#kind.tooLarge;
    const carriageReturn = this.#text.indexOf("\r", this.#at);
    if (carriageReturn >= 0 && carriageReturn < this.#text.length - 1) return this.#kind.malformed("a bare CR");
    return undefined;
  }
}
