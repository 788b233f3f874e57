// When an lb without free file descriptors stops to accept and when it tries again: a listener
// whose connections cannot be accepted is ready all the time and would keep the loop busy. Pure:
// the time is told, and whether descriptors are free.

const BACKOFF_MIN_MS = 500;
const BACKOFF_MAX_MS = 8000;
/** To be free before it accepts again, so that it does not run out at once. */
const FREE_MIN = 32;

type State =
  | { readonly kind: "accepting"; readonly sinceMs: number }
  | { readonly kind: "paused"; readonly untilMs: number };

export class AcceptPause {
  #state: State = { kind: "accepting", sinceMs: Number.NEGATIVE_INFINITY };
  #backoffMs = BACKOFF_MIN_MS;

  /**
   * Asked by the sweep. `areFree`: whether so many descriptors can be opened now. Returns what is
   * to be done with the listener; undefined: nothing.
   */
  check(nowMs: number, areFree: (count: number) => boolean): "pause" | "resume" | undefined {
    const state = this.#state;
    if (state.kind === "accepting") {
      if (areFree(1)) return undefined;
      if (nowMs - state.sinceMs > BACKOFF_MAX_MS) this.#backoffMs = BACKOFF_MIN_MS;
      this.#pause(nowMs);
      return "pause";
    }
    if (nowMs < state.untilMs) return undefined;
    if (areFree(FREE_MIN)) {
      this.#state = { kind: "accepting", sinceMs: nowMs };
      return "resume";
    }
    this.#pause(nowMs);
    return undefined;
  }

  /** It could not listen after all. */
  resumeFailed(nowMs: number): void {
    this.#pause(nowMs);
  }

  #pause(nowMs: number): void {
    this.#state = { kind: "paused", untilMs: nowMs + this.#backoffMs };
    this.#backoffMs = Math.min(2 * this.#backoffMs, BACKOFF_MAX_MS);
  }
}
