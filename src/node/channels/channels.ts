// Every channel that is open in this node: found by name, opened on first use, closed when unused,
// scheduled for flushes and sweeps, and together bounded in number and memory. Pure.

import { RoundRobin } from "../../runtime/round-robin.ts";
import { EVERYONE, isReserved } from "../../wire/channel-name.ts";
import { DEFAULT_ROUTE, type Route, type Rules } from "../app/rules.ts";
import type { Frame } from "../codec/encoding.ts";
import type { Uplink } from "../uplink/uplink.ts";
import { Channel, type ChannelContext } from "./channel.ts";

export const CHANNELS_MAX = 100_000;
/** Timers may fire this early, and what is due by then goes along, ms. */
const EARLY_MS = 1;
/** Channels are flushed together, no more often than this, ms. */
const FLUSH_MS = 5;
/** Characters of messages that all channels together cache. */
export const CACHED_MAX = 64 * 1024 * 1024;
/**
 * How long an unused channel stays open, ms: clients that were cut off are back by then. Less when
 * very many are open.
 */
const UNUSED_MS = 30_000;
const UNUSED_CROWDED_MS = 1000;

export type ChannelsOptions = {
  readonly rules: Rules;
  readonly uplinkOf: (channel: string) => Uplink;
  /** Sends a frame to all sessions that have joined the native topic: so many. */
  readonly publishToTopic: (topic: string, frame: Frame, readers: number) => void;
  /** Ends the slowest clients where too much waits for all of them. */
  readonly relieve: () => void;
  /** Milliseconds that only grow, for deadlines. */
  readonly nowMs: () => number;
  /** Milliseconds since the Unix epoch, as in the times of publications. */
  readonly wallMs: () => number;
  /** A batch is due then: `flush` has to be called. */
  readonly scheduleFlush: (dueMs: number) => void;
};

export class Channels implements ChannelContext {
  readonly nowMs: () => number;
  readonly wallMs: () => number;
  readonly publishToTopic: (topic: string, frame: Frame, readers: number) => void;
  readonly relieve: () => void;
  readonly #rules: Rules;
  readonly #uplinkOf: (channel: string) => Uplink;
  readonly #scheduleFlush: (dueMs: number) => void;
  readonly #channels = new Map<string, Channel>();
  /** Those that may have something to wait for: few, where most have readers. */
  readonly #watched = new Set<Channel>();
  /** Those whose batch may be waiting. */
  readonly #batching = new Set<Channel>();
  #cachedSize = 0;
  /** Which channel's cache shrinks next. */
  readonly #shrinking = new RoundRobin(this.#channels);

  constructor(options: ChannelsOptions) {
    this.#rules = options.rules;
    this.#uplinkOf = options.uplinkOf;
    this.publishToTopic = options.publishToTopic;
    this.relieve = options.relieve;
    this.nowMs = options.nowMs;
    this.wallMs = options.wallMs;
    this.#scheduleFlush = options.scheduleFlush;
  }

  get size(): number {
    return this.#channels.size;
  }

  /** Characters of messages that are cached in all. */
  get cachedSize(): number {
    return this.#cachedSize;
  }

  /**
   * The rule that a channel falls under; undefined: the app has none for it, or it is reserved.
   */
  routeOf(channel: string): Route | undefined {
    if (isReserved(channel)) return channel === EVERYONE ? DEFAULT_ROUTE : undefined;
    return this.#channels.get(channel)?.route ?? this.#rules.routeOf(channel);
  }

  /** The channel, if it is open. */
  find(name: string): Channel | undefined {
    return this.#channels.get(name);
  }

  /** The channel, opened if it is not. Undefined: too many are open. */
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

  scheduleFlush(channel: Channel, dueMs: number): void {
    this.#batching.add(channel);
    this.#scheduleFlush(dueMs);
  }

  /** Sends the batches that are due. False: none waits any more. */
  flush(): boolean {
    const nowMs = this.nowMs();
    let nextMs = Number.POSITIVE_INFINITY;
    for (const channel of this.#batching) {
      const dueMs = channel.flushIfDue(nowMs + EARLY_MS);
      this.relieve();
      if (dueMs === undefined) this.#batching.delete(channel);
      else nextMs = Math.min(nextMs, dueMs);
    }
    if (this.#batching.size === 0) return false;
    this.#scheduleFlush(Math.max(nextMs, nowMs + FLUSH_MS));
    return true;
  }

  cacheSizeChanged(change: number): void {
    this.#cachedSize += change;
    if (change <= 0) return;
    // Two rounds free three quarters of everything.
    for (let turns = 2 * this.#channels.size; turns > 0 && this.#cachedSize > CACHED_MAX; turns--)
      this.#shrinking.next()?.shrinkCache();
  }
}
