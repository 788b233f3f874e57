// How much of a channel is remembered: from an app's options to the policy that a relay gets. Pure.

import {
  POLICY_BYTES_MAX,
  POLICY_SIZE_MAX,
  POLICY_TTL_MS_MAX,
  type Policy,
} from "../../wire/relay-messages.ts";

/**
 * How much of a channel is remembered, and so how long a client may be away without a gap.
 * The first limit that is reached holds. `size`: publications (default 1000; 0 remembers nothing).
 * `ttl`: age, such as "500ms", "30s", "10m", "2h" (default "10m").
 * `bytes`: of data and its framing (default 1 MiB).
 */
export type HistoryOptions = {
  readonly size?: number | undefined;
  readonly ttl?: string | undefined;
  readonly bytes?: number | undefined;
};

const UNITS_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};
const TTL_DAYS_MAX = Math.floor(POLICY_TTL_MS_MAX / UNITS_MS.d);

/** Milliseconds in "500ms", "10s", "10m", "2h", "1d"; undefined for anything else. */
export function parseDurationMs(text: string): number | undefined {
  const match = /^(\d{1,9})(ms|s|m|h|d)$/.exec(text);
  return match === null ? undefined : Number(match[1]) * UNITS_MS[match[2]];
}

/** Throws an Error that says what is wrong; `where` names the channel pattern. */
export function policyOf(history: HistoryOptions | undefined, where: string): Policy {
  const { size = 1000, ttl = "10m", bytes = 1024 * 1024 } = history ?? {};
  const ttlMs = parseDurationMs(ttl);
  const wrong = (field: string, value: unknown, wanted: string) =>
    new Error(`history.${field} of "${where}" is ${JSON.stringify(value)}: it must be ${wanted}.`);
  if (ttlMs === undefined) throw wrong("ttl", ttl, 'a time such as "500ms", "30s", "10m" or "2h"');
  if (ttlMs > POLICY_TTL_MS_MAX) throw wrong("ttl", ttl, `at most "${TTL_DAYS_MAX}d"`);
  if (!Number.isSafeInteger(size) || size < 0 || size > POLICY_SIZE_MAX)
    throw wrong("size", size, `a whole number from 0 to ${POLICY_SIZE_MAX}`);
  if (!Number.isSafeInteger(bytes) || bytes < 0 || bytes > POLICY_BYTES_MAX)
    throw wrong("bytes", bytes, "a whole number of bytes");
  return { size, ttlMs, bytes };
}
