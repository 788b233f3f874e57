// One timer for many deadlines: it rings at the earliest of them. Pure.

import type { Cancel, Clock } from "../runtime/clock.ts";

export class Alarm {
  readonly #clock: Clock;
  readonly #ring: () => void;
  #cancelTimer: Cancel | undefined;
  #atMs = Number.POSITIVE_INFINITY;

  constructor(clock: Clock, ring: () => void) {
    this.#clock = clock;
    this.#ring = ring;
  }

  /** Rings once, at that monotonic time or earlier. After ringing, set the next deadline again. */
  set(atMs: number): void {
    if (atMs >= this.#atMs) return;
    this.#cancelTimer?.();
    this.#atMs = atMs;
    this.#cancelTimer = this.#clock.after(
      Math.max(0, atMs - this.#clock.monotonicMs()),
      this.#onTimer,
    );
  }

  cancel(): void {
    this.#cancelTimer?.();
    this.#atMs = Number.POSITIVE_INFINITY;
  }

  readonly #onTimer = (): void => {
    this.#atMs = Number.POSITIVE_INFINITY;
    this.#ring();
  };
}
