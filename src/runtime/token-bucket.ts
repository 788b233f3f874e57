// A token bucket: so many a second, and some at once. Pure.

export class TokenBucket {
  readonly #perSecond: number;
  readonly #burst: number;
  #tokens: number;
  #filledAtMs: number;

  /**
   * `burst`: as many at once after a quiet time, at least 1; a second's worth where it is not
   * given.
   */
  constructor(perSecond: number, nowMs: number, burst = perSecond) {
    this.#perSecond = perSecond;
    this.#burst = burst;
    this.#tokens = burst;
    this.#filledAtMs = nowMs;
  }

  /** Whether there is one for now; takes it. A clock that is set back earns nothing. */
  take(nowMs: number): boolean {
    const earned = (Math.max(0, nowMs - this.#filledAtMs) * this.#perSecond) / 1000;
    this.#tokens = Math.min(this.#burst, this.#tokens + earned);
    this.#filledAtMs = nowMs;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}
