// When a process that died is started again, and when to give up. Pure: the times come as
// arguments.

/** More deaths than this within the window are a crash loop. */
export const EXITS_MAX = 5;
export const CRASH_WINDOW_MS = 10_000;
const DELAY_MIN_MS = 100;
const DELAY_MAX_MS = 2000;
/**
 * A process that was ready for this long has got over what killed the one before it, and is missed:
 * its successor starts at once.
 */
const STABLE_MS = 1000;

/** One process's past: when it died lately, and how often in a row without having settled. */
export type ExitHistory = { readonly recentMs: readonly number[]; readonly inARow: number };

export const NO_EXITS: ExitHistory = { recentMs: [], inARow: 0 };

/** `delayMs`: how long to wait before the next start; undefined for a crash loop. */
export type RestartDecision = {
  readonly deaths: ExitHistory;
  readonly delayMs: number | undefined;
};

/**
 * What follows the death, at `nowMs`, of a process that had been ready for `servedMs`, 0 if it
 * never was. Times are of one monotonic clock.
 */
export function afterExit(deaths: ExitHistory, nowMs: number, servedMs: number): RestartDecision {
  const recentMs = [...deaths.recentMs.filter((at) => nowMs - at < CRASH_WINDOW_MS), nowMs];
  const inARow = servedMs >= STABLE_MS ? 1 : deaths.inARow + 1;
  return {
    deaths: { recentMs, inARow },
    delayMs: recentMs.length > EXITS_MAX ? undefined : delayMs(inARow),
  };
}

function delayMs(inARow: number): number {
  return inARow === 1 ? 0 : Math.min(DELAY_MIN_MS * 2 ** (inARow - 2), DELAY_MAX_MS);
}
