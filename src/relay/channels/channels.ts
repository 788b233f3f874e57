// A relay's channels: by name and by id, freed when unused; and the size of all histories together.
// Pure.

import { RoundRobin } from "../../runtime/round-robin.ts";
import type { Channel } from "./channel.ts";

/** How long a channel without openings and history is kept, so that readers can resume. */
const UNUSED_MS = 600_000;
/** How long a channel with history is kept all the same, where there is no room for a new one. */
const UNUSED_CROWDED_MS = 60_000;
/** Channels that are looked at, at most, to make room for a new one. */
const LOOKED_AT_MAX = 64;
/** Sweeps in which every channel is visited once: there may be very many. */
const SWEEPS_ROUND = 10;

export class Channels {
  readonly #byName = new Map<string, Channel>();
  readonly #byId = new Map<number, Channel>();
  /** Those that no link has open: the ones that were looked at longest ago come first. */
  readonly #unused = new Set<Channel>();
  /** The channel to be swept next. */
  readonly #sweeping = new RoundRobin(this.#byName);
  /** The id that a new channel gets; above CHANNEL_ID_MAX there are none left. */
  nextId = 1;
  /** Frame bytes that the histories hold. */
  historyBytes = 0;

  get size(): number {
    return this.#byName.size;
  }

  get(name: string): Channel | undefined {
    return this.#byName.get(name);
  }

  withId(id: number): Channel | undefined {
    return this.#byId.get(id);
  }

  values(): IterableIterator<Channel> {
    return this.#byName.values();
  }

  add(channel: Channel): void {
    this.#byName.set(channel.name, channel);
    this.#byId.set(channel.id, channel);
    this.raiseNextId(channel.id + 1);
    this.historyBytes += channel.historyBytes;
    if (channel.openers === 0) this.#unused.add(channel);
  }

  /** One link more has the channel open. */
  opened(channel: Channel, nowMs: number): void {
    channel.openers++;
    channel.usedAtMs = nowMs;
    this.#unused.delete(channel);
  }

  /** One link less has it open. */
  released(channel: Channel): void {
    channel.openers--;
    if (channel.openers === 0) this.#unused.add(channel);
  }

  /** Ids below this one may have been given: none of them is given again. */
  raiseNextId(id: number): void {
    if (id > this.nextId) this.nextId = id;
  }

  /** Expires what the channel's ttl says. */
  expire(channel: Channel, nowMs: number): void {
    this.historyBytes -= channel.expire(nowMs);
  }

  /** Expires the histories of a tenth of the channels, and frees those that are unused. */
  sweep(nowMs: number): void {
    for (let n = Math.ceil(this.size / SWEEPS_ROUND); n > 0; n--) {
      const next = this.#sweeping.next();
      if (next !== undefined) this.#expireAndFree(next, nowMs);
    }
  }

  /**
   * Makes room for a new channel: frees those of some unused ones that remember nothing, and those
   * that were not used for a minute, whatever they remember.
   */
  freeUnused(nowMs: number): void {
    let left = Math.min(LOOKED_AT_MAX, this.#unused.size);
    for (const channel of this.#unused) {
      if (left-- === 0) return;
      this.#unused.delete(channel);
      this.#unused.add(channel);
      this.expire(channel, nowMs);
      if (channel.remembered === 0 || nowMs - channel.usedAtMs >= UNUSED_CROWDED_MS)
        this.#free(channel);
    }
  }

  #expireAndFree(channel: Channel, nowMs: number): void {
    this.expire(channel, nowMs);
    if (channel.openers > 0 || channel.remembered > 0 || nowMs - channel.usedAtMs < UNUSED_MS)
      return;
    this.#free(channel);
  }

  #free(channel: Channel): void {
    this.historyBytes -= channel.historyBytes;
    this.#byName.delete(channel.name);
    this.#byId.delete(channel.id);
    this.#unused.delete(channel);
  }
}
