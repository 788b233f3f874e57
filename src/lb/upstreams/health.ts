// When a node's health changes: rise and fall over the outcomes of its checks, as in HAProxy. Pure;
// HealthCheck runs the checks.

import type { Health } from "./pool.ts";

/**
 * `well`: the expected answer. `unwell`: another answer. `unreachable`: no connection, or no answer
 * in time.
 */
export type CheckOutcome = "well" | "unwell" | "unreachable";

export type HealthOptions = {
  /** Consecutive good checks until a node is up again. */
  readonly rise: number;
  /** Consecutive bad checks until a node is down. */
  readonly fall: number;
};

/** Counts one node's consecutive equal outcomes; a new node counts as up until a check fails. */
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

  /** Adds the outcome of a check; returns the resulting health. */
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
   * A connection was refused as only a dead server refuses it, so no check needs to confirm that.
   */
  refused(): Health {
    this.#good = 0;
    this.#bad = this.#options.fall;
    this.#health = "down";
    return this.#health;
  }
}
