// A token bucket: limits a rate and allows bursts. Pure.

export class TokenBucket {
  readonly #perSecond: number;
  readonly #burst: number;
  /** Below zero: what was taken is more than was there, and is earned first. */
  #tokens: number;
  #filledAtMs: number;

  /** `burst`: tokens that a full bucket holds, at least 1. Without it, those of one second. */
  constructor(perSecond: number, nowMs: number, burst = perSecond) {
    this.#perSecond = perSecond;
    this.#burst = burst;
    this.#tokens = burst;
    this.#filledAtMs = nowMs;
  }

  /**
   * Takes a token, or `cost` tokens at once, where there is one at least; false when there is none.
   * A clock that is set back adds no tokens.
   */
  take(nowMs: number, cost = 1): boolean {
    if (this.isEmpty(nowMs)) return false;
    this.#tokens -= cost;
    return true;
  }

  isEmpty(nowMs: number): boolean {
    this.#fill(nowMs);
    return this.#tokens < 1;
  }

  isFull(nowMs: number): boolean {
    this.#fill(nowMs);
    return this.#tokens >= this.#burst;
  }

  /** Takes what had its price only afterwards; negative: gives back. */
  charge(tokens: number): void {
    this.#tokens -= tokens;
  }

  /** Leaves no more in this bucket than is in the other. */
  lowerTo(other: TokenBucket): void {
    this.#tokens = Math.min(this.#tokens, other.#tokens);
  }

  #fill(nowMs: number): void {
    const earned = (Math.max(0, nowMs - this.#filledAtMs) * this.#perSecond) / 1000;
    this.#tokens = Math.min(this.#burst, this.#tokens + earned);
    this.#filledAtMs = nowMs;
  }
}
