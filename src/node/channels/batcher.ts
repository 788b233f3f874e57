// The live readers of one channel and the batches they get: a fan-out costs a system call per
// reader, however much goes out with it, so a busy channel with many readers sends in batches.
// Pure.

import type { Encoding } from "../codec/encoding.ts";
import type { Subscriber } from "./subscriber.ts";

/**
 * After a fan-out to n readers the next one waits n times this long, ms, so that one channel cannot
 * keep a node busy.
 */
const READER_MS = 1;
/** Characters that may wait; with more there is nothing left to save. */
const QUEUED_SIZE_MAX = 64 * 1024;

export class Batcher {
  /** The native topic of each encoding. */
  readonly topics: Readonly<Record<Encoding, string>>;
  readonly #readers = { json: 0, msgpack: 0 };
  readonly #batchMsMax: number;
  #queued: string[] = [];
  #queuedSize = 0;
  #takenAtMs = Number.NEGATIVE_INFINITY;
  /** No fan-out before that time. */
  #restsUntilMs = Number.NEGATIVE_INFINITY;

  /** `batchMsMax`: how long a message may wait for others. */
  constructor(channel: string, batchMsMax: number) {
    this.topics = { json: `j ${channel}`, msgpack: `m ${channel}` };
    this.#batchMsMax = batchMsMax;
  }

  /** How many sessions have joined each topic. */
  get readers(): Readonly<Record<Encoding, number>> {
    return this.#readers;
  }

  get readerCount(): number {
    return this.#readers.json + this.#readers.msgpack;
  }

  /**
   * Call it when nothing is queued: a reader that joins has what was published before, and one
   * that leaves is owed it.
   */
  addReader(session: Pick<Subscriber, "encoding" | "joinTopic">): void {
    this.#readers[session.encoding]++;
    session.joinTopic(this.topics[session.encoding]);
  }

  removeReader(session: Pick<Subscriber, "encoding" | "leaveTopic">): void {
    this.#readers[session.encoding]--;
    session.leaveTopic(this.topics[session.encoding]);
  }

  queueMessage(json: string): void {
    if (this.readerCount === 0) return;
    this.#queued.push(json);
    this.#queuedSize += json.length;
  }

  /** When the batch is due; undefined: nothing is queued. */
  get dueMs(): number | undefined {
    return this.#queued.length === 0 ? undefined : this.#restsUntilMs;
  }

  /** Whether the batch is due: what comes in the same millisecond as the last one goes with it. */
  isDue(nowMs: number): boolean {
    const isOver = nowMs >= this.#restsUntilMs;
    return isOver || nowMs === this.#takenAtMs || this.#queuedSize > QUEUED_SIZE_MAX;
  }

  /** Everything that is queued, to be sent now. */
  takeBatch(nowMs: number): readonly string[] {
    const batch = this.#queued;
    if (batch.length === 0) return batch;
    this.#queued = [];
    this.#queuedSize = 0;
    this.#takenAtMs = nowMs;
    const restMs = Math.min(this.readerCount * READER_MS, this.#batchMsMax);
    const lateMs = nowMs - this.#restsUntilMs;
    // From when the batch was due, so that a channel with one publication per rest never waits
    // because the last one was sent late.
    this.#restsUntilMs = (lateMs > 0 && lateMs < restMs ? this.#restsUntilMs : nowMs) + restMs;
    return batch;
  }
}
