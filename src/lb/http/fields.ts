// Field lines (RFC 9110, 5; RFC 9112, 5): parsed strictly, byte by byte, into a table of offsets.
// Forwarded lines are copied as bytes; only the few values that are inspected become strings.

import type { ByteSink } from "../net/byte-sink.ts";

const KNOWN = [
  "host",
  "content-length",
  "transfer-encoding",
  "connection",
  "keep-alive",
  "proxy-connection",
  "te",
  "upgrade",
  "http2-settings",
  "forwarded",
  "x-real-ip",
  "x-forwarded-for",
  "x-forwarded-proto",
  "x-forwarded-host",
  "cookie",
  "set-cookie",
  "cache-control",
  "via",
  "expect",
  "date",
  "max-forwards",
  "sec-websocket-key",
  "sec-websocket-version",
  "sec-websocket-accept",
] as const;

/**
 * The names that a proxy handles, in lower case. `x-forwarded-*` is any other that begins so; `_`
 * is any that contains an underscore, which many servers read as a hyphen.
 */
export type Key = (typeof KNOWN)[number] | "x-forwarded-*" | "_";

const CR = 0x0d;
const LF = 0x0a;
const COLON = 0x3a;
const SPACE = 0x20;
const TAB = 0x09;
const UNDERSCORE = 0x5f;
const LOWER = 0x20;

/** 1 for bytes of a token, 2 for letters. */
const TOKEN = new Uint8Array(256);
for (const sign of "!#$%&'*+-.^_`|~0123456789") TOKEN[sign.charCodeAt(0)] = 1;
for (let letter = 0x61; letter <= 0x7a; letter++) {
  TOKEN[letter] = 2;
  TOKEN[letter - LOWER] = 2;
}

/** 1 for bytes that a value may contain: visible ones, space, tab, and everything from 0x80 on. */
const VALUE = new Uint8Array(256).fill(1, SPACE);
VALUE[TAB] = 1;
VALUE[0x7f] = 0;

export const isTokenByte = (byte: number): boolean => TOKEN[byte] !== 0;
export const isValueByte = (byte: number): boolean => VALUE[byte] === 1;
export const isBlank = (byte: number): boolean => byte === SPACE || byte === TAB;

const SLOTS = 256;
const slotOf = (length: number, first: number, last: number): number =>
  (length * 37 + first * 5 + last * 11) % SLOTS;
const known: (Key | undefined)[] = new Array(SLOTS);
for (const name of KNOWN) {
  const slot = slotOf(name.length, name.charCodeAt(0), name.charCodeAt(name.length - 1));
  if (known[slot] !== undefined)
    throw new Error(`${name} and ${known[slot]} fall into one slot: change slotOf`);
  known[slot] = name;
}

function isName(bytes: Buffer, start: number, name: string): boolean {
  for (let at = 0; at < name.length; at++) {
    const byte = bytes[start + at];
    if ((TOKEN[byte] === 2 ? byte | LOWER : byte) !== name.charCodeAt(at)) return false;
  }
  return true;
}

function keyOf(bytes: Buffer, start: number, end: number): Key | undefined {
  const candidate = known[slotOf(end - start, bytes[start] | LOWER, bytes[end - 1] | LOWER)];
  if (
    candidate !== undefined &&
    candidate.length === end - start &&
    isName(bytes, start, candidate)
  )
    return candidate;
  return end - start >= X_FORWARDED.length && isName(bytes, start, X_FORWARDED)
    ? "x-forwarded-*"
    : undefined;
}

const X_FORWARDED = "x-forwarded-";

/** The offset after the fields, or `incomplete`: neither fault nor end was found. */
export type FieldsEnd = number | "incomplete" | FieldsFault;
export class FieldsFault {
  readonly message: string;

  constructor(message: string) {
    this.message = message;
  }
}

export const TOO_MANY_FIELDS = new FieldsFault("too many fields");
const BARE_CR = new FieldsFault("a bare CR");
const BARE_LF = new FieldsFault("a bare LF");

// Five offsets per line: start of its name, its colon, start and end of its value (trimmed), and
// its CR.
const NAME = 0;
const NAME_END = 1;
const VALUE_START = 2;
const VALUE_END = 3;
const LINE_END = 4;
const PLACES = 5;

const NOTHING = Buffer.alloc(0);
const NO_ELEMENTS: readonly string[] = [];

/**
 * The field lines that were read last. The table is reused: its contents are valid until the next
 * `read`.
 */
export class Fields {
  count = 0;
  /** The key of each line's name, if it is one that a proxy handles. */
  readonly keys: (Key | undefined)[] = [];
  #bytes: Buffer = NOTHING;
  readonly #places: number[] = [];

  /**
   * Reads field lines from `from` through the empty line; returns the offset after it. Reads
   * nothing from `to` on.
   */
  read(bytes: Buffer, from: number, to: number, countMax: number): FieldsEnd {
    this.#bytes = bytes;
    this.count = 0;
    let at = from;
    for (;;) {
      if (at >= to) return "incomplete";
      if (bytes[at] === CR) {
        if (at + 1 >= to) return "incomplete";
        return bytes[at + 1] === LF ? at + 2 : BARE_CR;
      }
      const end = this.#line(at, to);
      if (typeof end !== "number") return end;
      if (++this.count > countMax) return TOO_MANY_FIELDS;
      at = end;
    }
  }

  /** The value of a line, one character per byte. */
  value(line: number): string {
    const place = line * PLACES;
    return this.#bytes.toString(
      "latin1",
      this.#places[place + VALUE_START],
      this.#places[place + VALUE_END],
    );
  }

  /** The name of a line, in lower case. */
  name(line: number): string {
    const place = line * PLACES;
    return this.#bytes
      .toString("latin1", this.#places[place + NAME], this.#places[place + NAME_END])
      .toLowerCase();
  }

  has(key: Key): boolean {
    for (let line = 0; line < this.count; line++) if (this.keys[line] === key) return true;
    return false;
  }

  /** The values of all lines with this name. */
  values(key: Key): readonly string[] {
    if (!this.has(key)) return NO_ELEMENTS;
    const values: string[] = [];
    for (let line = 0; line < this.count; line++)
      if (this.keys[line] === key) values.push(this.value(line));
    return values;
  }

  /** The elements of a list that may be spread over several lines, in lower case. */
  list(key: Key): readonly string[] {
    if (!this.has(key)) return NO_ELEMENTS;
    return this.values(key).flatMap((value) =>
      value.split(",").map((element) => element.trim().toLowerCase()),
    );
  }

  /**
   * Writes the lines for which `passes` is true, consecutive ones in one piece, each exactly as
   * `Name: value`.
   */
  write(passes: (line: number) => boolean, output: ByteSink): void {
    let runStart = -1;
    for (let line = 0; line < this.count; line++) {
      const isPlain = passes(line) && this.#isPlain(line);
      if (isPlain && runStart < 0) runStart = line;
      if (isPlain) continue;
      if (runStart >= 0) this.#writeRun(runStart, line - 1, output);
      runStart = -1;
      if (passes(line)) output.text(this.#written(line));
    }
    if (runStart >= 0) this.#writeRun(runStart, this.count - 1, output);
  }

  /** Reads one line; returns the offset of the next. */
  #line(from: number, to: number): FieldsEnd {
    const bytes = this.#bytes;
    let at = from;
    let hasUnderscore = false;
    while (at < to && TOKEN[bytes[at]] !== 0) if (bytes[at++] === UNDERSCORE) hasUnderscore = true;
    if (at === to) return "incomplete";
    if (bytes[at] !== COLON || at === from) return this.#badName(from, at);
    const colon = at++;
    while (at < to && VALUE[bytes[at]] === 1) at++;
    if (at === to) return "incomplete";
    if (bytes[at] !== CR)
      return bytes[at] === LF ? BARE_LF : new FieldsFault("a control character in a field value");
    if (at + 1 === to) return "incomplete";
    if (bytes[at + 1] !== LF) return BARE_CR;
    let valueStart = colon + 1;
    let valueEnd = at;
    while (valueStart < valueEnd && isBlank(bytes[valueStart])) valueStart++;
    while (valueEnd > valueStart && isBlank(bytes[valueEnd - 1])) valueEnd--;
    const place = this.count * PLACES;
    this.keys[this.count] = hasUnderscore ? "_" : keyOf(bytes, from, colon);
    this.#places[place + NAME] = from;
    this.#places[place + NAME_END] = colon;
    this.#places[place + VALUE_START] = valueStart;
    this.#places[place + VALUE_END] = valueEnd;
    this.#places[place + LINE_END] = at;
    return at + 2;
  }

  #badName(from: number, at: number): FieldsFault {
    const byte = this.#bytes[at];
    if (isBlank(byte))
      return new FieldsFault(
        at === from ? "a line that begins with white space" : "white space in a field name",
      );
    if (byte === CR) return new FieldsFault("a field line without a colon");
    if (byte === LF) return BARE_LF;
    return new FieldsFault("a field name that is not a token");
  }

  /** Whether the line already has the exact form `Name: value`. */
  #isPlain(line: number): boolean {
    const place = line * PLACES;
    const places = this.#places;
    const valueStart = places[place + VALUE_START];
    return (
      valueStart === places[place + NAME_END] + 2 &&
      this.#bytes[valueStart - 1] === SPACE &&
      places[place + VALUE_END] === places[place + LINE_END]
    );
  }

  #writeRun(first: number, last: number, output: ByteSink): void {
    output.bytes(
      this.#bytes,
      this.#places[first * PLACES + NAME],
      this.#places[last * PLACES + LINE_END] + 2,
    );
  }

  #written(line: number): string {
    const place = line * PLACES;
    const name = this.#bytes.toString(
      "latin1",
      this.#places[place + NAME],
      this.#places[place + NAME_END],
    );
    return `${name}: ${this.value(line)}\r\n`;
  }
}
