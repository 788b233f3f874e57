// Limits expensive work per turn and per second, so that mass connects and disconnects do not delay
// other connections. Pure: turns and the time are arguments.

import { TokenBucket } from "../../runtime/token-bucket.ts";

/**
 * The work of this many seconds is done at once, at least one job; time missed in a pause is not
 * made up for at once.
 */
const AT_ONCE_SECONDS = 0.004;

/** Calls back when the next turn begins. */
export type NextTurn = (begin: () => void) => void;

export class Pace {
  readonly #perTurn: number;
  readonly #nextTurn: NextTurn;
  readonly #onTurn: () => void;
  #left: number;

  /** Calls `onTurn` at the beginning of every turn after one in which work was done. */
  constructor(perTurn: number, nextTurn: NextTurn, onTurn: () => void) {
    this.#perTurn = perTurn;
    this.#nextTurn = nextTurn;
    this.#onTurn = onTurn;
    this.#left = perTurn;
  }

  /** Whether this turn allows one more job. */
  get hasRoom(): boolean {
    return this.#left > 0;
  }

  /** Counts one job in this turn. */
  spend(): void {
    if (this.#left === this.#perTurn)
      this.#nextTurn(() => {
        this.#left = this.#perTurn;
        this.#onTurn();
      });
    this.#left--;
  }
}

/** Runs jobs in order at a fixed rate: at once if the rate allows, otherwise later. */
export class PacedQueue {
  readonly #bucket: TokenBucket;
  readonly #now: () => number;
  readonly #later: (work: () => void) => void;
  #jobs: (() => void)[] = [];
  #next = 0;

  /** `now`: in milliseconds. `later` calls back as soon as a timer can, once per call. */
  constructor(perSecond: number, now: () => number, later: (work: () => void) => void) {
    this.#bucket = new TokenBucket(perSecond, now(), Math.max(1, perSecond * AT_ONCE_SECONDS));
    this.#now = now;
    this.#later = later;
  }

  enqueue(job: () => void): void {
    this.#jobs.push(job);
    if (this.#jobs.length === 1) this.#work();
  }

  #work(): void {
    const nowMs = this.#now();
    while (this.#next < this.#jobs.length && this.#bucket.take(nowMs)) this.#jobs[this.#next++]();
    if (this.#next < this.#jobs.length) return this.#later(() => this.#work());
    this.#jobs = [];
    this.#next = 0;
  }
}
