// How much of what is costly an lb does at a time, so that connections which come or go by the thousand do not hold the others up. Only
// counts: what a turn is, one of the event loop or a millisecond, it is told.

/** Calls back when the next turn begins. */
export type NextTurn = (begin: () => void) => void;

export class Pace {
  readonly #perTurn: number;
  readonly #nextTurn: NextTurn;
  readonly #onTurn: () => void;
  #left: number;

  /** `onTurn` is called at the beginning of every turn that follows one in which something was taken. */
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
  take(): void {
    if (this.#left === this.#perTurn)
      this.#nextTurn(() => {
        this.#left = this.#perTurn;
        this.#onTurn();
      });
    this.#left--;
  }
}

/** Jobs done in order: at once where the turn has room, or else in turns to come. */
export class PacedQueue {
  readonly #pace: Pace;
  #jobs: (() => void)[] = [];
  #next = 0;

  constructor(perTurn: number, nextTurn: NextTurn) {
    this.#pace = new Pace(perTurn, nextTurn, () => this.#work());
  }

  add(job: () => void): void {
    this.#jobs.push(job);
    this.#work();
  }

  #work(): void {
    while (this.#next < this.#jobs.length && this.#pace.hasRoom) {
      this.#pace.take();
      this.#jobs[this.#next++]();
    }
    if (this.#next < this.#jobs.length) return;
    this.#jobs = [];
    this.#next = 0;
  }
}
