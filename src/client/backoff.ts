// How long to wait before trying again. Pure: the random number is an argument.

const FIRST_MS = 100;
const LONGEST_MS = 10_000;

/**
 * Milliseconds before attempt `attempt` (0 is the first after a success). The first comes soon,
 * spread over 0–100 ms, because another node is usually there at once; later ones double up to 10
 * s, each between half and all of its step, so that clients which lost the same node do not come
 * back together. `random`: from 0 up to 1.
 */
export function backoffMs(attempt: number, random: number): number {
  if (attempt === 0) return FIRST_MS * random;
  return Math.min(FIRST_MS * 2 ** attempt, LONGEST_MS) * (0.5 + random / 2);
}
