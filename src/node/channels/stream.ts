// Where a node stands in the stream of one channel's publications, and which of them it can still
// give: lineage, top, memory. Pure.

import { type Position, resume } from "../../wire/position.ts";
import type { Policy } from "../../wire/relay-messages.ts";
import type { Page, Question } from "../uplink/broker.ts";
import { Frames } from "./frames.ts";
import { Memory } from "./memory.ts";

/** Where a reader wants to go on: after a position, or so many publications before the newest. */
export type Want = Position | number;

export class Stream {
  /** "" until the relay has told it. */
  epoch = "";
  /**
   * Whether the stream has brought us to the top that we know, so that it can go on from there
   * after a lost link.
   */
  #isFollowed = false;
  readonly #memory: Memory;
  /** All of a publication's frame that stands before its offset. */
  readonly #frameHead: string;
  readonly #onRemembered: (change: number) => void;
  #size = 0;

  /** `onRemembered`: so many characters of frames more are held; negative: fewer. */
  constructor(channel: string, policy: Policy, onRemembered: (change: number) => void) {
    this.#memory = new Memory(policy);
    this.#frameHead = `{"type":"message","channel":${JSON.stringify(channel)},"offset":`;
    this.#onRemembered = onRemembered;
  }

  get top(): number {
    return this.#memory.top;
  }

  get position(): Position | null {
    return this.#isFollowed ? { epoch: this.epoch, offset: this.#memory.top } : null;
  }

  /** The stream goes on behind this position, whatever lies before it. */
  restart({ epoch, offset }: Position): void {
    this.epoch = epoch;
    this.#isFollowed = true;
    this.#memory.restart(offset);
    this.#account();
  }

  /** Takes the next publication. Returns its frame; undefined when it is not news. */
  append(offset: number, timeMs: number, payload: string): string | undefined {
    if (!this.#isFollowed || offset <= this.#memory.top) return undefined;
    const json = this.#frameText(offset, timeMs, payload);
    this.#memory.append(offset, timeMs, json);
    this.#account();
    return json;
  }

  /**
   * Where a reader goes on, if memory alone can tell. That something is out of reach, only the
   * relay can tell.
   */
  find(want: Want, nowMs: number): number | undefined {
    if (!this.#isFollowed) return undefined;
    this.#memory.expire(nowMs);
    this.#account();
    if (typeof want === "number") return this.#memory.beforeNewest(want);
    return want.epoch === this.epoch && this.#memory.covers(want.offset) ? want.offset : undefined;
  }

  /**
   * Gives what follows `offset` to `take` while it wants more and there is more at hand. Returns
   * how far that went.
   */
  read(offset: number, take: (json: string) => boolean): number {
    return this.#memory.read(offset, take);
  }

  /** Keeps a page of history, for all who can use it. */
  keep({ since }: Question, { readable, offsets, timesMs, payloads }: Page): Frames {
    const oldest = offsets.length === 0 ? readable.top : offsets[0] - 1;
    const run = new Frames(since === null ? oldest : resume(since, readable).after);
    for (let i = 0; i < offsets.length; i++)
      run.append(offsets[i], timesMs[i], this.#frameText(offsets[i], timesMs[i], payloads[i]));
    this.#memory.keepPage(run);
    this.#account();
    return run;
  }

  /** Gives back half of the room it takes. */
  shrink(): void {
    this.#memory.shrink();
    this.#account();
  }

  /** Gives back all of it, for good. */
  end(): void {
    this.#onRemembered(-this.#size);
  }

  #frameText(offset: number, timeMs: number, payload: string): string {
    return `${this.#frameHead}${offset},"time":${timeMs},"data":${payload}}`;
  }

  #account(): void {
    const change = this.#memory.size - this.#size;
    if (change === 0) return;
    this.#size += change;
    this.#onRemembered(change);
  }
}
