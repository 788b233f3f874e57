// Every channel that this node has open: found by name, made when first used, closed when nobody
// uses it any more, and together bounded in number and memory. Pure.

import { RoundRobin } from "../../runtime/round-robin.ts";
import { EVERYONE, isReserved } from "../../wire/channel-name.ts";
import { DEFAULT_ROUTE, type Route, type Rules } from "../app/rules.ts";
import { type Encoding, type Frame, frameOf } from "../codec/encoding.ts";
import type { Uplink } from "../uplink/uplink.ts";
import type { Batcher } from "./batcher.ts";
import { Channel, type Outlet } from "./channel.ts";

export const CHANNELS_MAX = 100_000;
/** A timer may be so much early, and what is due by then goes along. */
const EARLY_MS = 1;
/** Many channels are flushed together, no more often than this. */
const FLUSH_MS = 5;
/** Characters of frames that all channels together remember. */
export const REMEMBERED_MAX = 64 * 1024 * 1024;
/**
 * How long a channel that nobody uses stays open, ms: whoever was cut off is back by then. Less
 * when there are very many.
 */
const UNUSED_MS = 30_000;
const UNUSED_CROWDED_MS = 1000;

const ENCODINGS: readonly Encoding[] = ["json", "msgpack"];

export class Channels implements Outlet {
  readonly nowMs: () => number;
  readonly #rules: Rules;
  readonly #uplinkOf: (channel: string) => Uplink;
  readonly #publish: (topic: string, frame: Frame) => void;
  readonly #onWaiting: (untilMs: number) => void;
  readonly #channels = new Map<string, Channel>();
  /** Those that may have something to wait for: few, where most have readers. */
  readonly #watched = new Set<Channel>();
  /** Those for whom something waits. */
  readonly #waiting = new Set<Batcher>();
  #remembered = 0;
  /** Whose turn it is to give room back. */
  readonly #shrinking = new RoundRobin(this.#channels);

  /**
   * `publish`: gives a frame to all sessions that have joined the native topic. `onWaiting`:
   * something has to wait, so call `flush` at that time.
   */
  constructor(
    rules: Rules,
    uplinkOf: (channel: string) => Uplink,
    publish: (topic: string, frame: Frame) => void,
    nowMs: () => number,
    onWaiting: (untilMs: number) => void,
  ) {
    this.#rules = rules;
    this.#uplinkOf = uplinkOf;
    this.#publish = publish;
    this.nowMs = nowMs;
    this.#onWaiting = onWaiting;
  }

  get size(): number {
    return this.#channels.size;
  }

  /** Characters of frames that are held in all. */
  get rememberedSize(): number {
    return this.#remembered;
  }

  /**
   * The rule that a channel falls under; undefined: the app has none for it, or it is tutti's own.
   */
  routeOf(channel: string): Route | undefined {
    if (isReserved(channel)) return channel === EVERYONE ? DEFAULT_ROUTE : undefined;
    return this.#channels.get(channel)?.route ?? this.#rules.routeOf(channel);
  }

  /** The channel, if it is open. */
  find(name: string): Channel | undefined {
    return this.#channels.get(name);
  }

  /** The channel, opened if it is not. Undefined: too many are. */
  open(name: string, route: Route, isFollowed: boolean): Channel | undefined {
    const known = this.#channels.get(name);
    if (known !== undefined || this.#channels.size >= CHANNELS_MAX) return known;
    const channel = new Channel(name, route, this.#uplinkOf(name), this, isFollowed);
    this.#channels.set(name, channel);
    return channel;
  }

  /** About once a second. */
  sweep(): void {
    const nowMs = this.nowMs();
    const unusedMs = this.#channels.size > CHANNELS_MAX / 2 ? UNUSED_CROWDED_MS : UNUSED_MS;
    for (const channel of this.#watched) {
      const isKept = channel.name === EVERYONE;
      const swept = channel.sweep(nowMs, isKept ? Number.POSITIVE_INFINITY : unusedMs);
      if (swept !== "watched") this.#watched.delete(channel);
      if (swept === "closed") this.#channels.delete(channel.name);
    }
  }

  watch(channel: Channel): void {
    this.#watched.add(channel);
  }

  fanOut(audience: Batcher, json: string): void {
    audience.add(json);
    if (audience.isDue(this.nowMs())) return this.release(audience);
    this.#waiting.add(audience);
    this.#onWaiting(audience.dueMs);
  }

  release(audience: Batcher): void {
    this.#waiting.delete(audience);
    const { topics, joined } = audience;
    for (const json of audience.take(this.nowMs()))
      for (const encoding of ENCODINGS)
        if (joined[encoding] > 0) this.#publish(topics[encoding], frameOf(encoding, json));
  }

  /** Tells what is due. False: nothing waits any more. */
  flush(): boolean {
    const nowMs = this.nowMs();
    let nextMs = Number.POSITIVE_INFINITY;
    for (const audience of this.#waiting) {
      if (audience.isDue(nowMs + EARLY_MS)) this.release(audience);
      else nextMs = Math.min(nextMs, audience.dueMs);
    }
    if (this.#waiting.size === 0) return false;
    this.#onWaiting(Math.max(nextMs, nowMs + FLUSH_MS));
    return true;
  }

  remembered(change: number): void {
    this.#remembered += change;
    if (change <= 0) return;
    // Twice round gives back three quarters of everything.
    for (
      let turns = 2 * this.#channels.size;
      turns > 0 && this.#remembered > REMEMBERED_MAX;
      turns--
    )
      this.#shrinking.next()?.shrink();
  }
}
