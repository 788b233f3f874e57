// What a node remembers of one channel, so that most clients that come back need no relay: the
// newest publications, and the last page of older ones that somebody asked for. Pure.

import type { Policy } from "../../wire/relay-messages.ts";
import { Frames } from "./frames.ts";

/** Newest publications that are kept, within what the channel's policy allows. */
const RECENT_COUNT_MAX = 1024;
const RECENT_SIZE_MAX = 1024 * 1024;

export class Memory {
  readonly #policy: Policy;
  /** Up to the channel's top, without a hole. */
  #recent = new Frames(0);
  #older: Frames | undefined;

  constructor(policy: Policy) {
    this.#policy = policy;
  }

  /** Characters of frames that are held. */
  get size(): number {
    return this.#recent.size + (this.#older?.size ?? 0);
  }

  get top(): number {
    return this.#recent.upTo;
  }

  /** Forgets everything: the channel goes on after this offset. */
  restart(top: number): void {
    this.#recent = new Frames(top);
    this.#older = undefined;
  }

  append(offset: number, timeMs: number, text: string): void {
    const { size, bytes } = this.#policy;
    this.#recent.append(offset, timeMs, text);
    this.#recent.trim(Math.min(size, RECENT_COUNT_MAX), Math.min(bytes, RECENT_SIZE_MAX));
  }

  /** Keeps a page of the relay's history, in place of the one before. */
  keepPage(page: Frames): void {
    this.#older = page;
  }

  /** Forgets what the channel's policy no longer remembers. */
  expire(nowMs: number): void {
    this.#recent.dropBefore(nowMs - this.#policy.ttlMs);
    this.#older?.dropBefore(nowMs - this.#policy.ttlMs);
  }

  /** Gives room back: half of what is held, the oldest first. */
  shrink(): void {
    if (this.#older !== undefined) this.#older = undefined;
    else this.#recent.trim(this.#recent.count >>> 1, this.#recent.size / 2);
  }

  /** Whether something that follows this offset is at hand, or nothing follows it. */
  covers(offset: number): boolean {
    return this.#recent.covers(offset) || this.#older?.continues(offset) === true;
  }

  /**
   * Where a reader of the `count` newest publications begins; undefined when they are not all at
   * hand.
   */
  beforeNewest(count: number): number | undefined {
    if (count === 0) return this.top;
    const recent = this.#recent;
    if (count <= recent.count) return recent.offsetAt(recent.count - count) - 1;
    const older = this.#older;
    if (older !== undefined && older.upTo >= recent.after) {
      const usable = older.indexAfter(recent.after);
      const missing = count - recent.count;
      if (missing <= usable) return older.offsetAt(usable - missing) - 1;
    }
    return recent.after === 0 ? 0 : undefined;
  }

  /**
   * Gives the publications after `offset` to `take` for as long as it wants more and they are at
   * hand. Returns the offset of the last one given, or as far as is known that there is none.
   */
  read(offset: number, take: (text: string) => boolean): number {
    let at = offset;
    for (const run of [this.#older, this.#recent]) {
      if (run === undefined || !run.covers(at)) continue;
      for (let i = run.indexAfter(at); i < run.count; i++) {
        at = run.offsetAt(i);
        if (!take(run.textAt(i))) return at;
      }
      at = run.upTo;
    }
    return at;
  }
}
