// Those who hear one channel live, and the batches in which they are told: a fan-out costs a system
// call for every reader, however much goes out with it, so what a busy channel with many readers
// says waits a little and goes out together. Pure.

import type { Encoding } from "../codec/encoding.ts";
import type { Subscriber } from "./subscriber.ts";

/**
 * After a fan-out to n readers the next one waits n times this long, ms, so that one channel cannot
 * keep a node busy.
 */
const READER_MS = 1;
/** Characters that may wait; with more there is nothing left to save. */
const WAITING_SIZE_MAX = 64 * 1024;

export class Batcher {
  /** The native topic of each encoding. */
  readonly topics: Readonly<Record<Encoding, string>>;
  readonly #joined = { json: 0, msgpack: 0 };
  readonly #batchMsMax: number;
  #waiting: string[] = [];
  #waitingSize = 0;
  #toldAtMs = Number.NEGATIVE_INFINITY;
  /** No fan-out before that time. */
  #restsUntilMs = Number.NEGATIVE_INFINITY;

  /** `batchMsMax`: how long a frame may wait for others. */
  constructor(channel: string, batchMsMax: number) {
    this.topics = { json: `j ${channel}`, msgpack: `m ${channel}` };
    this.#batchMsMax = batchMsMax;
  }

  /** How many sessions have joined each topic. */
  get joined(): Readonly<Record<Encoding, number>> {
    return this.#joined;
  }

  get size(): number {
    return this.#joined.json + this.#joined.msgpack;
  }

  /**
   * To be called when nothing waits: whoever joins has been given what was published before,
   * whoever leaves is owed it.
   */
  join(session: Pick<Subscriber, "encoding" | "join">): void {
    this.#joined[session.encoding]++;
    session.join(this.topics[session.encoding]);
  }

  leave(session: Pick<Subscriber, "encoding" | "leave">): void {
    this.#joined[session.encoding]--;
    session.leave(this.topics[session.encoding]);
  }

  add(json: string): void {
    if (this.size === 0) return;
    this.#waiting.push(json);
    this.#waitingSize += json.length;
  }

  /** When what waits is to go out. */
  get dueMs(): number {
    return this.#restsUntilMs;
  }

  /**
   * Whether what waits is to go out. What comes in the same millisecond as the last fan-out goes
   * with it.
   */
  isDue(nowMs: number): boolean {
    // A rest longer than there can be: the system's clock was set back.
    const isOver = nowMs >= this.#restsUntilMs || this.#restsUntilMs - nowMs > this.#batchMsMax;
    return isOver || nowMs === this.#toldAtMs || this.#waitingSize > WAITING_SIZE_MAX;
  }

  /** All that waits, which is to be told now. */
  take(nowMs: number): readonly string[] {
    const taken = this.#waiting;
    if (taken.length === 0) return taken;
    this.#waiting = [];
    this.#waitingSize = 0;
    this.#toldAtMs = nowMs;
    const restMs = Math.min(this.size * READER_MS, this.#batchMsMax);
    const lateMs = nowMs - this.#restsUntilMs;
    // From when it could have gone, so that a channel that speaks once in a rest never waits
    // because it was late the last time.
    this.#restsUntilMs = (lateMs > 0 && lateMs < restMs ? this.#restsUntilMs : nowMs) + restMs;
    return taken;
  }
}
