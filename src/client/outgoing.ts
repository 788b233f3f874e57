// What the app hands over, checked before it is sent: what a node cannot read it cannot answer by
// its id either, and the promise would wait for ever. Pure.

import { clientMessage } from "../wire/client-messages.ts";
import { DATA_DEPTH_MAX } from "../wire/json-text.ts";
import { Malformed } from "../wire/shape.ts";
import { TuttiError } from "./error.ts";

const malformed = (message: string): TuttiError =>
  new TuttiError({ code: "bad_frame", message, retry: false });

/**
 * The JSON text of `data`. Throws `bad_frame` with the place, such as `data.users[3].name`, where
 * it holds what JSON cannot say or a node does not take: undefined (as a field's value it is left
 * out), a function, a symbol, a bigint, NaN or Infinity, half a surrogate pair, or over 63 lists
 * and objects within each other.
 */
export function jsonText(data: unknown): string {
  assertJson(data, "data", 1);
  return JSON.stringify(data);
}

/** Throws `bad_frame` as `jsonText` does. */
export function assertParams(params: unknown): void {
  if (params !== undefined) assertJson(params, "params", 1);
}

/** A request as the app describes it. Throws `bad_frame` where a node would not take it. */
export function assertFrame(frame: Readonly<Record<string, unknown>>): void {
  try {
    clientMessage(frame);
  } catch (error) {
    throw error instanceof Malformed ? malformed(error.message) : error;
  }
  if (frame.since !== undefined && frame.last !== undefined)
    throw malformed("subscribe takes since or last, not both");
  for (const [name, value] of Object.entries(frame))
    if (value !== undefined) assertJson(value, name, 1);
}

function assertJson(value: unknown, place: string, depth: number): void {
  switch (typeof value) {
    case "string":
      if (value.isWellFormed()) return;
      throw malformed(`${place} holds half a surrogate pair`);
    case "number":
      if (Number.isFinite(value)) return;
      throw malformed(`${place} is ${value}, which JSON cannot say`);
    case "boolean":
      return;
    case "object":
      if (value !== null) assertJsonObject(value, place, depth);
      return;
    default:
      throw malformed(`${place} is ${nameOf(value)}, which JSON cannot say`);
  }
}

function assertJsonObject(value: object, place: string, depth: number): void {
  if (depth > DATA_DEPTH_MAX)
    throw malformed(`${place.slice(0, 100)}… is nested over ${DATA_DEPTH_MAX} deep`);
  if ("toJSON" in value && typeof value.toJSON === "function")
    return assertJson(value.toJSON(), place, depth + 1);
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) assertJson(value[i], `${place}[${i}]`, depth + 1);
    return;
  }
  for (const [name, field] of Object.entries(value)) {
    if (!name.isWellFormed()) throw malformed(`a name in ${place} holds half a surrogate pair`);
    if (field !== undefined) assertJson(field, `${place}.${name}`, depth + 1);
  }
}

const nameOf = (value: unknown): string =>
  value === undefined ? "undefined" : `a ${typeof value}`;
