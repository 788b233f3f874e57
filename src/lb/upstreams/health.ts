// When a node's health changes: rise and fall over the outcomes of its checks, as in HAProxy. Pure;
// HealthCheck performs them.

import type { Health } from "./pool.ts";

/**
 * `well`: as asked for. `unwell`: an answer, but not that. `unreachable`: no connection, or no
 * answer in time.
 */
export type CheckOutcome = "well" | "unwell" | "unreachable";

export type HealthOptions = {
  /** Good checks in a row that bring a node back. */
  readonly rise: number;
  /** Bad checks in a row that take a node out. */
  readonly fall: number;
};

/** One node's run of equal outcomes; a new node counts as up until it shows otherwise. */
export class HealthRecord {
  readonly #options: HealthOptions;
  #health: Health = "up";
  #good = 0;
  #bad = 0;

  constructor(options: HealthOptions) {
    this.#options = options;
  }

  get health(): Health {
    return this.#health;
  }

  /** Takes the outcome of a check in; returns the health that follows from it. */
  checked(outcome: CheckOutcome): Health {
    if (outcome === "well") {
      this.#bad = 0;
      if (++this.#good >= this.#options.rise) this.#health = "up";
      else if (this.#health === "down") this.#health = "failing";
    } else {
      this.#good = 0;
      if (++this.#bad >= this.#options.fall)
        this.#health = outcome === "unwell" ? "failing" : "down";
    }
    return this.#health;
  }

  /**
   * A connection was refused in a way that only a dead server refuses: no check needs to confirm
   * it.
   */
  refused(): Health {
    this.#good = 0;
    this.#bad = this.#options.fall;
    this.#health = "down";
    return this.#health;
  }
}
