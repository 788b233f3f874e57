// When a running process counts as unresponsive, when one that exited is restarted, and when to
// give up. Pure: the times come as arguments.

/** The interval at which the supervisor pings a process. */
export const PING_MS = 1000;
/** A ready process that sends nothing for this long is unresponsive. */
const UNRESPONSIVE_MS = 5000;
/** A starting process that loads an app or reads a long journal cannot answer. */
const UNRESPONSIVE_STARTING_MS = 15_000;

export class Responsiveness {
  #limitMs = UNRESPONSIVE_STARTING_MS;
  #receivedAtMs: number;
  #checkedAtMs: number;

  constructor(nowMs: number) {
    this.#receivedAtMs = nowMs;
    this.#checkedAtMs = nowMs;
  }

  /** The process has sent a message. */
  messageReceived(nowMs: number): void {
    this.#receivedAtMs = nowMs;
  }

  becameReady(): void {
    this.#limitMs = UNRESPONSIVE_MS;
  }

  /** Whether the process is unresponsive; to be called every PING_MS. */
  isUnresponsive(nowMs: number): boolean {
    // A late call means that this process was suspended, or the machine: allow another interval.
    if (nowMs - this.#checkedAtMs > 2 * PING_MS) this.#receivedAtMs = nowMs;
    this.#checkedAtMs = nowMs;
    return nowMs - this.#receivedAtMs > this.#limitMs;
  }
}

/** More exits than this within the window are a crash loop. */
export const EXITS_MAX = 5;
export const CRASH_WINDOW_MS = 10_000;
const DELAY_MIN_MS = 100;
const DELAY_MAX_MS = 2000;
/** After a process was ready for this long, its next exit is followed by a start at once. */
const STABLE_MS = 1000;

/** The recent exits of one process, and how many in a row came before it was stable. */
export type ExitHistory = { readonly recentMs: readonly number[]; readonly inARow: number };

export const NO_EXITS: ExitHistory = { recentMs: [], inARow: 0 };

/** `delayMs`: how long to wait before the next start; undefined for a crash loop. */
export type RestartDecision = {
  readonly exits: ExitHistory;
  readonly delayMs: number | undefined;
};

/**
 * What follows the exit, at `nowMs`, of a process that had been ready for `servedMs`, 0 if it never
 * was. Times are of one monotonic clock.
 */
export function afterExit(exits: ExitHistory, nowMs: number, servedMs: number): RestartDecision {
  const recentMs = [...exits.recentMs.filter((at) => nowMs - at < CRASH_WINDOW_MS), nowMs];
  const inARow = servedMs >= STABLE_MS ? 1 : exits.inARow + 1;
  return {
    exits: { recentMs, inARow },
    delayMs: recentMs.length > EXITS_MAX ? undefined : delayMs(inARow),
  };
}

function delayMs(inARow: number): number {
  return inARow === 1 ? 0 : Math.min(DELAY_MIN_MS * 2 ** (inARow - 2), DELAY_MAX_MS);
}
