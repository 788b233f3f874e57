// What data may be: values that JSON can hold, in either encoding. Pure.

import { isUtf8 } from "node:buffer";
import { DEPTH_MAX, textEnd as jsonTextEnd } from "../../wire/json-text.ts";
import { Malformed } from "../../wire/shape.ts";

/**
 * Throws Malformed where a value that JSON.parse made of `json` is nested too deep, or is not what
 * the text says.
 */
export function assertJsonValue(value: unknown, json: string): void {
  const isExact = assertEntry(value, 0);
  const inexact = isExact ? undefined : inexactInteger(json);
  if (inexact !== undefined) throw new Malformed(`${inexact.slice(0, 40)} ${INEXACT}`);
}

const INEXACT = "cannot be held exactly, as it is beyond 2^53: send it as text";

/** Returns whether no number is so large that its text may have said another. */
function assertEntry(value: unknown, depth: number): boolean {
  if (typeof value === "string") {
    if (!value.isWellFormed()) throw new Malformed("text must not hold half a surrogate pair");
  } else if (typeof value === "number") {
    if (!Number.isFinite(value)) throw new Malformed("a number is out of range");
    return Math.abs(value) <= Number.MAX_SAFE_INTEGER;
  } else if (typeof value === "object" && value !== null) {
    if (depth === DEPTH_MAX) throw new Malformed(`a frame may be nested ${DEPTH_MAX} deep`);
    let isExact = true;
    if (Array.isArray(value)) {
      for (const entry of value) isExact = assertEntry(entry, depth + 1) && isExact;
    } else {
      for (const [key, entry] of Object.entries(value)) {
        assertEntry(key, depth);
        isExact = assertEntry(entry, depth + 1) && isExact;
      }
    }
    return isExact;
  }
  return true;
}

const NUMBER = /-?\d+(\.\d+)?([eE][+-]?\d+)?/y;

/** The first integer in valid JSON text that a number of JavaScript changes. */
function inexactInteger(json: string): string | undefined {
  for (let at = 0; at < json.length; at++) {
    if (json[at] === '"') at = jsonTextEnd(json, at);
    NUMBER.lastIndex = at;
    const [literal, fraction, exponent] = NUMBER.exec(json) ?? [];
    if (literal === undefined) continue;
    at += literal.length - 1;
    if (fraction === undefined && exponent === undefined && isChanged(literal)) return literal;
  }
  return undefined;
}

/** What JavaScript itself writes, such as 2 ** 64 as 18446744073709552000, comes out as it was. */
function isChanged(literal: string): boolean {
  const value = Number(literal);
  return String(value) !== literal && BigInt(value) !== BigInt(literal);
}

/**
 * Throws Malformed unless the bytes are exactly one msgpack value that JSON can hold: no binary, no
 * extension types, text keys. It runs before the decoder, so that no client reaches the decoder's
 * extensions; a declared length is checked against the bytes that are there.
 */
export function assertJsonMsgpack(bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (valueEnd(view, bytes, 0, 0) !== bytes.length)
    throw new Malformed("bytes follow the msgpack value");
}

const CUT_OFF = "the msgpack value is cut off";
const NOT_JSON = "the msgpack value holds something that JSON cannot say";

/** Where the value that begins at `at` ends. */
function valueEnd(view: DataView, bytes: Uint8Array, at: number, depth: number): number {
  const type = bytes[at];
  if (type === undefined) throw new Malformed(CUT_OFF);
  if (type < 0x80 || type >= 0xe0) return at + 1;
  if (type < 0x90) return entriesEnd(view, bytes, at + 1, type & 0x0f, true, depth);
  if (type < 0xa0) return entriesEnd(view, bytes, at + 1, type & 0x0f, false, depth);
  if (type < 0xc0) return textEnd(bytes, at + 1, type & 0x1f);
  switch (type) {
    case 0xc0:
    case 0xc2:
    case 0xc3:
      return at + 1;
    case 0xcc:
    case 0xd0:
      return within(bytes, at + 2);
    case 0xcd:
    case 0xd1:
      return within(bytes, at + 3);
    case 0xce:
    case 0xd2:
      return within(bytes, at + 5);
    case 0xca:
      return finite(view.getFloat32(within(bytes, at + 5) - 4), at + 5);
    case 0xcb:
      return finite(view.getFloat64(within(bytes, at + 9) - 8), at + 9);
    case 0xcf:
      return safe(view.getBigUint64(within(bytes, at + 9) - 8), at + 9);
    case 0xd3:
      return safe(view.getBigInt64(within(bytes, at + 9) - 8), at + 9);
    case 0xd9:
      return textEnd(bytes, at + 2, view.getUint8(within(bytes, at + 2) - 1));
    case 0xda:
      return textEnd(bytes, at + 3, view.getUint16(within(bytes, at + 3) - 2));
    case 0xdb:
      return textEnd(bytes, at + 5, view.getUint32(within(bytes, at + 5) - 4));
    case 0xdc:
      return entriesEnd(
        view,
        bytes,
        at + 3,
        view.getUint16(within(bytes, at + 3) - 2),
        false,
        depth,
      );
    case 0xdd:
      return entriesEnd(
        view,
        bytes,
        at + 5,
        view.getUint32(within(bytes, at + 5) - 4),
        false,
        depth,
      );
    case 0xde:
      return entriesEnd(
        view,
        bytes,
        at + 3,
        view.getUint16(within(bytes, at + 3) - 2),
        true,
        depth,
      );
    case 0xdf:
      return entriesEnd(
        view,
        bytes,
        at + 5,
        view.getUint32(within(bytes, at + 5) - 4),
        true,
        depth,
      );
    default:
      throw new Malformed(NOT_JSON);
  }
}

function entriesEnd(
  view: DataView,
  bytes: Uint8Array,
  at: number,
  count: number,
  keyed: boolean,
  depth: number,
) {
  if (depth === DEPTH_MAX) throw new Malformed(`a frame may be nested ${DEPTH_MAX} deep`);
  let end = at;
  for (let i = 0; i < count; i++) {
    if (keyed) {
      if (!isText(bytes[end])) throw new Malformed(end < bytes.length ? NOT_JSON : CUT_OFF);
      end = valueEnd(view, bytes, end, depth);
    }
    end = valueEnd(view, bytes, end, depth + 1);
  }
  return end;
}

const isText = (type: number | undefined) =>
  type !== undefined && ((type >= 0xa0 && type < 0xc0) || (type >= 0xd9 && type <= 0xdb));

function textEnd(bytes: Uint8Array, start: number, length: number): number {
  const end = within(bytes, start + length);
  for (let i = start; i < end; i++) {
    if (bytes[i] < 0x80) continue;
    if (isUtf8(bytes.subarray(i, end))) break;
    throw new Malformed("text is not UTF-8");
  }
  return end;
}

function within(bytes: Uint8Array, end: number): number {
  if (end > bytes.length) throw new Malformed(CUT_OFF);
  return end;
}

function finite(value: number, end: number): number {
  if (!Number.isFinite(value)) throw new Malformed(NOT_JSON);
  return end;
}

function safe(value: bigint, end: number): number {
  if (value > Number.MAX_SAFE_INTEGER || value < Number.MIN_SAFE_INTEGER)
    throw new Malformed(`${value} ${INEXACT}`);
  return end;
}
