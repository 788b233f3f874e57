// A relay's channels: by name and by id, freed when unused; and the size of all histories together.
// Pure.

import { RoundRobin } from "../runtime/round-robin.ts";
import type { Channel } from "./channel.ts";
import { CHANNEL_ID_MAX } from "./records.ts";

/** How long a channel without openings and history is kept, so that readers can resume. */
const UNUSED_MS = 600_000;
/** Sweeps in which every channel is visited once: there may be very many. */
const SWEEPS_ROUND = 10;

export class Channels {
  readonly #byName = new Map<string, Channel>();
  readonly #byId = new Map<number, Channel>();
  /** The channel to be swept next. */
  readonly #sweeping = new RoundRobin(this.#byName);
  #nextId = 1;
  /** Frame bytes that the histories hold. */
  historyBytes = 0;

  get size(): number {
    return this.#byName.size;
  }

  /** An id for a new channel. Undefined: there is none left. */
  get nextId(): number | undefined {
    return this.#nextId > CHANNEL_ID_MAX ? undefined : this.#nextId;
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
    this.#nextId = Math.max(this.#nextId, channel.id + 1);
    this.historyBytes += channel.historyBytes;
  }

  /** Expires what the channel's ttl says. */
  expire(channel: Channel, nowMs: number): void {
    this.historyBytes -= channel.expire(nowMs);
  }

  /** Expires the histories of a tenth of the channels, and frees those that are unused. */
  sweep(nowMs: number): void {
    for (let n = Math.ceil(this.size / SWEEPS_ROUND); n > 0; n--) {
      const next = this.#sweeping.next();
      if (next !== undefined) this.#expireAndFree(next, nowMs, UNUSED_MS);
    }
  }

  /** Frees all channels that are unused now. */
  freeUnused(nowMs: number): void {
    for (const channel of this.values()) this.#expireAndFree(channel, nowMs, 0);
  }

  #expireAndFree(channel: Channel, nowMs: number, unusedMs: number): void {
    this.expire(channel, nowMs);
    if (channel.openers > 0 || channel.remembered > 0 || nowMs - channel.usedAtMs < unusedMs)
      return;
    this.#byName.delete(channel.name);
    this.#byId.delete(channel.id);
  }
}
