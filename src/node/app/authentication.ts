// Authentication of a client: calls the app's `connect` and checks what it returns. Pure, but for
// what the app does.

import { isRecord } from "../../wire/shape.ts";
import type { AppOptions, Attempt } from "./index.ts";

const USER_CHARACTERS_MAX = 200;
/** What the relay takes as a member's info. */
const INFO_BYTES_MAX = 1024;

export type Admitted = {
  readonly user: string | undefined;
  readonly info: unknown;
  readonly data: unknown;
  /** `info` as JSON text in UTF-8; empty: none. */
  readonly infoBytes: Uint8Array;
  /** When the connection has to end, in ms since the Unix epoch; Infinity: never. */
  readonly expiresAtMs: number;
};

const NO_INFO = new Uint8Array(0);
/** A client of an app without `connect`, or whose `connect` returned nothing. */
export const ANYONE: Admitted = {
  user: undefined,
  info: undefined,
  data: undefined,
  infoBytes: NO_INFO,
  expiresAtMs: Number.POSITIVE_INFINITY,
};

/**
 * Calls the app's `connect`. Throws (or rejects with) Refused, whatever else the app throws, or an
 * Error that says what is wrong with its answer.
 */
export function admit(app: AppOptions<string>, attempt: Attempt): Admitted | Promise<Admitted> {
  const answer: unknown = app.connect?.(attempt);
  return isThenable(answer) ? Promise.resolve(answer).then(admittedIn) : admittedIn(answer);
}

/** Whether a result of the app is a promise: some libraries' are not instances of Promise. */
export function isThenable<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return (
    typeof value === "object" &&
    value !== null &&
    "then" in value &&
    typeof value.then === "function"
  );
}

function admittedIn(answer: unknown): Admitted {
  if (answer === undefined) return ANYONE;
  if (!isRecord(answer))
    throw new Error("connect must return { user, info, data, expiresAtMs } or nothing");
  const { user, info, data, expiresAtMs = Number.POSITIVE_INFINITY } = answer;
  if (
    user !== undefined &&
    (typeof user !== "string" || user === "" || user.length > USER_CHARACTERS_MAX)
  )
    throw new Error(`connect must return a user of 1 to ${USER_CHARACTERS_MAX} characters`);
  const infoBytes = info === undefined ? NO_INFO : new TextEncoder().encode(JSON.stringify(info));
  if (infoBytes.length > INFO_BYTES_MAX)
    throw new Error(`connect must return an info of at most ${INFO_BYTES_MAX} bytes of JSON`);
  if (typeof expiresAtMs !== "number" || Number.isNaN(expiresAtMs))
    throw new Error("connect must return an expiresAtMs in milliseconds since 1970");
  return { user, info, data, infoBytes, expiresAtMs };
}
