// One session's unacknowledged publications, and the rule that keeps them in order: after one was
// refused for now, later ones of its channel are refused too, until it is sent again. Pure.

/** How long a refused publication may take to be sent again before it counts as given up, ms. */
const GIVEN_UP_MS = 10_000;
const HOLDS_MAX = 128;

export class PublishWindow {
  inFlight = 0;
  /** By channel: the lowest seq that was refused for now. */
  readonly #holds = new Map<string, { seq: number; untilMs: number }>();

  /** Whether a publication may pass: none with a lower seq still has to be sent again. */
  mayPass(channel: string, seq: number, nowMs: number): boolean {
    const hold = this.#holds.get(channel);
    if (hold === undefined) return true;
    const isOver = seq === hold.seq || nowMs >= hold.untilMs;
    if (isOver) this.#holds.delete(channel);
    return isOver || seq < hold.seq;
  }

  /** The client was told to send this one again later. */
  holdBack(channel: string, seq: number, nowMs: number): void {
    const hold = this.#holds.get(channel);
    const lowest = hold === undefined ? seq : Math.min(seq, hold.seq);
    if (hold === undefined && this.#holds.size >= HOLDS_MAX)
      for (const oldest of this.#holds.keys()) {
        this.#holds.delete(oldest);
        break;
      }
    this.#holds.set(channel, { seq: lowest, untilMs: nowMs + GIVEN_UP_MS });
  }
}
