// What data may be where it comes as JSON. Pure.

import { DEPTH_MAX, textEnd } from "../../wire/json-text.ts";
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

/** Of a number: the rest of the sentence. */
export const INEXACT = "cannot be held exactly, as it is beyond 2^53: send it as text";

/** Returns whether no number is so large that its text may have said another. */
function assertEntry(value: unknown, depth: number): boolean {
  if (typeof value === "string") {
    if (!value.isWellFormed()) throw new Malformed("text must not hold half a surrogate pair");
  } else if (typeof value === "number") {
    if (!Number.isFinite(value)) throw new Malformed("a number is out of range");
    return Math.abs(value) <= Number.MAX_SAFE_INTEGER;
  } else if (typeof value === "object" && value !== null) {
    assertMayNest(depth);
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
    if (json[at] === '"') at = textEnd(json, at);
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

/** Throws Malformed where something `depth` deep may hold nothing more. */
export function assertMayNest(depth: number): void {
  if (depth === DEPTH_MAX) throw new Malformed(`a frame may be nested ${DEPTH_MAX} deep`);
}
