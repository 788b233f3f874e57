// What a node holds of one channel's history, so that most returning clients need no relay: the
// epoch, the top, the newest publications, and the last page of older ones. Pure.

import { encodeMessage, messageHead } from "../../wire/client-messages.ts";
import { type Position, resume } from "../../wire/position.ts";
import type { Policy } from "../../wire/relay-messages.ts";
import type { Page, Question } from "../uplink/broker.ts";
import { PublicationRun } from "./publication-run.ts";

/** Newest publications that are kept, within what the channel's policy allows. */
const RECENT_COUNT_MAX = 1024;
const RECENT_SIZE_MAX = 1024 * 1024;

/** Where a reader continues: after a position, or this many publications before the newest. */
export type Want = Position | number;

export class HistoryCache {
  /** "" until the relay has sent it. */
  epoch = "";
  /** Whether the relay sends this channel's publications, so that the top is known. */
  #isFollowed = false;
  readonly #policy: Policy;
  /** Up to the channel's top, without a hole. */
  #recent = new PublicationRun(0);
  #older: PublicationRun | undefined;
  readonly #messageHead: string;
  readonly #onSizeChange: (change: number) => void;
  /** Characters that were last reported. */
  #size = 0;

  /** `channelText`: the name as JSON. `onSizeChange`: the cache has grown by so many characters. */
  constructor(channelText: string, policy: Policy, onSizeChange: (change: number) => void) {
    this.#policy = policy;
    this.#messageHead = messageHead(channelText);
    this.#onSizeChange = onSizeChange;
  }

  get top(): number {
    return this.#recent.upTo;
  }

  /** Where the channel continues after a lost link; null: nothing is known yet. */
  get position(): Position | null {
    return this.#isFollowed ? { epoch: this.epoch, offset: this.top } : null;
  }

  /** Forgets everything: the channel continues after this position. */
  restart({ epoch, offset }: Position): void {
    this.epoch = epoch;
    this.#isFollowed = true;
    this.#recent = new PublicationRun(offset);
    this.#older = undefined;
    this.#reportSize();
  }

  /** Adds the next publication. Returns its message; undefined: it was there already. */
  append(offset: number, timeMs: number, payload: string): string | undefined {
    if (!this.#isFollowed || offset <= this.top) return undefined;
    const { size, bytes } = this.#policy;
    const json = encodeMessage(this.#messageHead, offset, timeMs, payload);
    this.#recent.append(offset, timeMs, json);
    this.#recent.trim(Math.min(size, RECENT_COUNT_MAX), Math.min(bytes, RECENT_SIZE_MAX));
    this.#reportSize();
    return json;
  }

  /**
   * The offset after which a reader continues, if the cache alone can tell. Only the relay can tell
   * that something is out of reach.
   */
  find(want: Want, wallMs: number): number | undefined {
    if (!this.#isFollowed) return undefined;
    this.#expire(wallMs);
    if (typeof want === "number") return this.#beforeNewest(want);
    return want.epoch === this.epoch && this.#covers(want.offset) ? want.offset : undefined;
  }

  /**
   * Gives the cached messages after `offset` to `onMessage` until it returns false. Returns the
   * offset of the last one, or how far it is known that there are none.
   */
  read(offset: number, onMessage: (json: string) => boolean): number {
    let at = offset;
    for (const run of [this.#older, this.#recent]) {
      if (run === undefined || !run.covers(at)) continue;
      for (let i = run.indexAfter(at); i < run.count; i++) {
        at = run.offsetAt(i);
        if (!onMessage(run.textAt(i))) return at;
      }
      at = run.upTo;
    }
    return at;
  }

  /** Keeps a page of the relay's history, in place of the one before. */
  keepPage({ since }: Question, { readable, offsets, timesMs, payloads }: Page): PublicationRun {
    const beforeOldest = offsets.length === 0 ? readable.top : offsets[0] - 1;
    const run = new PublicationRun(since === null ? beforeOldest : resume(since, readable).after);
    for (let i = 0; i < offsets.length; i++) {
      const json = encodeMessage(this.#messageHead, offsets[i], timesMs[i], payloads[i]);
      run.append(offsets[i], timesMs[i], json);
    }
    this.#older = run;
    this.#reportSize();
    return run;
  }

  /** Frees half of what it holds, the oldest first. */
  shrink(): void {
    if (this.#older !== undefined) this.#older = undefined;
    else this.#recent.trim(this.#recent.count >>> 1, this.#recent.size / 2);
    this.#reportSize();
  }

  /** The channel is closed: nothing of it counts any more. */
  close(): void {
    this.#onSizeChange(-this.#size);
  }

  /** Drops what is older than the channel's policy allows. */
  #expire(wallMs: number): void {
    this.#recent.dropBefore(wallMs - this.#policy.ttlMs);
    this.#older?.dropBefore(wallMs - this.#policy.ttlMs);
    this.#reportSize();
  }

  /** Whether a publication after this offset is cached, or none follows it. */
  #covers(offset: number): boolean {
    return this.#recent.covers(offset) || this.#older?.hasAfter(offset) === true;
  }

  /** Where a reader of the `count` newest begins; undefined: they are not all cached. */
  #beforeNewest(count: number): number | undefined {
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

  #reportSize(): void {
    const change = this.#recent.size + (this.#older?.size ?? 0) - this.#size;
    if (change === 0) return;
    this.#size += change;
    this.#onSizeChange(change);
  }
}
