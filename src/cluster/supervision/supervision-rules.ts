// When a running process counts as unresponsive, and when one that exited is started again. Pure:
// the times come as arguments.

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
/** In a crash loop. */
const LOOP_DELAY_MIN_MS = 1000;
const LOOP_DELAY_MAX_MS = 10_000;
/** After a process was ready for this long, its next exit is followed by a start at once. */
const STABLE_MS = 1000;

/**
 * The exits of one process. `recentMs`: when it crashed within the window. `inARow`: exits since it
 * was last stable. `loops`: starts in the present crash loop, which ends when the process has been
 * ready for the length of the window; 0 outside of one.
 */
export type ExitHistory = {
  readonly recentMs: readonly number[];
  readonly inARow: number;
  readonly loops: number;
};

export const NO_EXITS: ExitHistory = { recentMs: [], inARow: 0, loops: 0 };

/**
 * `servedMs`: how long the process had been ready, 0 if it never was. `isRefusal`: it said why it
 * cannot start, such as a port that is taken, and may be tried again soon: no crash.
 */
export type ExitKind = { readonly servedMs: number; readonly isRefusal: boolean };

/** `delayMs`: how long to wait before the next start. There always is one. */
export type RestartDecision = {
  readonly exits: ExitHistory;
  readonly delayMs: number;
  readonly isCrashLoop: boolean;
};

/** What follows an exit at `nowMs`. Times are of one monotonic clock. */
export function afterExit(
  exits: ExitHistory,
  nowMs: number,
  { servedMs, isRefusal }: ExitKind,
): RestartDecision {
  const inARow = servedMs >= STABLE_MS ? 1 : exits.inARow + 1;
  const recent = exits.recentMs.filter((at) => nowMs - at < CRASH_WINDOW_MS);
  if (isRefusal) {
    const after = { recentMs: recent, inARow, loops: exits.loops };
    return { exits: after, delayMs: delayMs(inARow), isCrashLoop: false };
  }
  const recentMs = [...recent, nowMs];
  const isOver = servedMs >= CRASH_WINDOW_MS;
  const isCrashLoop = recentMs.length > EXITS_MAX || (exits.loops > 0 && !isOver);
  const loops = isCrashLoop ? (isOver ? 1 : exits.loops + 1) : 0;
  return {
    exits: { recentMs, inARow, loops },
    delayMs: isCrashLoop ? loopDelayMs(loops) : delayMs(inARow),
    isCrashLoop,
  };
}

function delayMs(inARow: number): number {
  return inARow === 1 ? 0 : Math.min(DELAY_MIN_MS * 2 ** (inARow - 2), DELAY_MAX_MS);
}

function loopDelayMs(loops: number): number {
  return Math.min(LOOP_DELAY_MIN_MS * 2 ** (loops - 1), LOOP_DELAY_MAX_MS);
}
