// How much of what is costly an lb does at a time, so that connections which come or go by the
// thousand do not hold the others up. Pure: turns of the event loop and the time are told.

import { TokenBucket } from "../../runtime/token-bucket.ts";

/**
 * So much time's work a queue does at once, and one job at least: what a pause has missed is not
 * made up for in one go.
 */
const AT_ONCE_SECONDS = 0.004;

/** Calls back when the next turn begins. */
export type NextTurn = (begin: () => void) => void;

export class Pace {
  readonly #perTurn: number;
  readonly #nextTurn: NextTurn;
  readonly #onTurn: () => void;
  #left: number;

  /**
   * `onTurn` is called at the beginning of every turn that follows one in which something was
   * taken.
   */
  constructor(perTurn: number, nextTurn: NextTurn, onTurn: () => void) {
    this.#perTurn = perTurn;
    this.#nextTurn = nextTurn;
    this.#onTurn = onTurn;
    this.#left = perTurn;
  }

  /** Whether this turn has room for one more. */
  get hasRoom(): boolean {
    return this.#left > 0;
  }

  /** One is being done. */
  spend(): void {
    if (this.#left === this.#perTurn)
      this.#nextTurn(() => {
        this.#left = this.#perTurn;
        this.#onTurn();
      });
    this.#left--;
  }
}

/**
 * Jobs done in order, so many a second: at once where that leaves room, or else when their time has
 * come.
 */
export class PacedQueue {
  readonly #bucket: TokenBucket;
  readonly #now: () => number;
  readonly #later: (work: () => void) => void;
  #jobs: (() => void)[] = [];
  #next = 0;

  /**
   * `now`: in milliseconds. `later` calls back as soon as a timer can, once for each call of it.
   */
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
