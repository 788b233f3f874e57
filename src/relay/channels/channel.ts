// One channel: its lineage, its history as a ring of places, and the links that read it. Its policy
// trims the history.

import { producerHighAt, producerLowAt, seqAt, timeAt } from "../../wire/frame.ts";
import type { Readable } from "../../wire/position.ts";
import { POLICY_SIZE_MAX, type Policy } from "../../wire/relay-messages.ts";
import { type Place, positionOf, type Segments, segmentOf } from "../journal/segments.ts";

/** A place in the ring whose publication has not been found (while a journal is replayed). */
export const NO_PLACE: Place = -1;

/** A link that reads a channel. */
export type Receiver = {
  /** Queues a control frame. */
  send(frame: Uint8Array): void;
  /** Queues the frames from one place to another, which lie in one segment. */
  sendRun(from: Place, to: Place): void;
};

export type ChannelOptions = {
  readonly id: number;
  readonly name: string;
  readonly epoch: string;
  readonly policy: Policy;
  readonly nowMs: number;
};

export class Channel {
  readonly id: number;
  readonly name: string;
  epoch: string;
  #policy: Policy;
  /** The offset of the newest publication; 0 before the first. */
  top = 0;
  /** The offset of the oldest publication in the history; top + 1 when it is empty. */
  first = 1;
  trimmed: "expired" | "evicted" = "expired";
  /** Frame bytes that the history holds. */
  historyBytes = 0;
  /** The place of the channel's newest definition in the journal. */
  definedAt: Place = NO_PLACE;
  /** The place of the newest publication: it proves `top` until a definition does. */
  topAt: Place = NO_PLACE;
  /** Links that get the channel's publications. */
  readonly live: Receiver[] = [];
  /** Links that get presence changes. */
  readonly observers: Receiver[] = [];
  /** How many links have it open. */
  openers = 0;
  /** Present clients, by id. */
  readonly members = new Map<string, { link: Receiver; info: Uint8Array }>();
  /** When it was last opened, closed or published to, ms. */
  usedAtMs: number;

  readonly #segments: Segments;
  /** When the oldest publication expires; 0: unknown. Spares sweeps a read of old segments. */
  #expiresAtMs = 0;
  /** Offset o is at index o & (length − 1) of both; the length is a power of two. */
  #places: Float64Array = new Float64Array(4);
  /** Frame bytes, so that trimming need not touch old segments. */
  #lengths: Uint32Array = new Uint32Array(4);

  constructor(segments: Segments, { id, name, epoch, policy, nowMs }: ChannelOptions) {
    this.#segments = segments;
    this.id = id;
    this.name = name;
    this.epoch = epoch;
    this.#policy = policy;
    this.usedAtMs = nowMs;
  }

  get policy(): Policy {
    return this.#policy;
  }

  /** Changes the policy and trims by it. Returns the bytes freed. */
  setPolicy(policy: Policy): number {
    const before = this.historyBytes;
    this.#policy = policy;
    this.#expiresAtMs = 0;
    this.#trim();
    return before - this.historyBytes;
  }

  get readable(): Readable {
    return { epoch: this.epoch, first: this.first, top: this.top, trimmed: this.trimmed };
  }

  get remembered(): number {
    return this.top + 1 - this.first;
  }

  /** The place of a publication in the history. */
  placeOf(offset: number): Place {
    return this.#places[offset & (this.#places.length - 1)];
  }

  /** Frame bytes of a publication in the history. */
  frameBytesOf(offset: number): number {
    return this.#lengths[offset & (this.#lengths.length - 1)];
  }

  /** Whether the history refers to this copy of a publication. */
  holds(offset: number, place: Place): boolean {
    return offset >= this.first && offset <= this.top && this.placeOf(offset) === place;
  }

  /** Adds publication top + 1, then trims. Returns by how many bytes the history grew. */
  appendPublication(place: Place, frameBytes: number, nowMs: number): number {
    const before = this.historyBytes;
    this.top++;
    this.topAt = place;
    this.usedAtMs = nowMs;
    this.#reserve(this.remembered);
    this.#put(this.top, place, frameBytes);
    this.historyBytes += frameBytes;
    this.#trim();
    return this.historyBytes - before;
  }

  /** Removes the newest publication, which could not be stored. Returns the bytes freed. */
  retractPublication(frameBytes: number, topAt: Place): number {
    const held = this.first <= this.top;
    this.top--;
    this.topAt = topAt;
    if (!held) {
      this.first = this.top + 1;
      return 0;
    }
    this.historyBytes -= frameBytes;
    return frameBytes;
  }

  /** A publication in the history has been copied to another place. */
  move(offset: number, place: Place): void {
    if (offset === this.top) this.topAt = place;
    this.#places[offset & (this.#places.length - 1)] = place;
  }

  /** Drops what is older than the policy's ttl. Returns the bytes freed. */
  expire(nowMs: number): number {
    if (nowMs < this.#expiresAtMs) return 0;
    const before = this.historyBytes;
    while (this.first <= this.top) {
      const place = this.placeOf(this.first);
      this.#expiresAtMs =
        timeAt(this.#segments.bytes(segmentOf(place)), positionOf(place)) + this.#policy.ttlMs;
      if (this.#expiresAtMs > nowMs) break;
      this.#dropFirst("expired");
    }
    return before - this.historyBytes;
  }

  /** Drops everything up to an offset to make room. Returns the bytes freed. */
  evict(upTo: number): number {
    const before = this.historyBytes;
    while (this.first <= upTo && this.first <= this.top) this.#dropFirst("evicted");
    return before - this.historyBytes;
  }

  /**
   * The offset of the newest publication by this producer with this seq, among the latest
   * `searchMax`; undefined when there is none.
   */
  offsetOf(high: number, low: number, seq: number, searchMax: number): number | undefined {
    const last = Math.max(this.first, this.top - searchMax + 1);
    for (let offset = this.top; offset >= last; offset--) {
      const place = this.placeOf(offset);
      const bytes = this.#segments.bytes(segmentOf(place));
      const at = positionOf(place);
      if (
        seqAt(bytes, at) === seq &&
        producerLowAt(bytes, at) === low &&
        producerHighAt(bytes, at) === high
      )
        return offset;
    }
    return undefined;
  }

  /**
   * Replay: a publication was found at a place. Places arrive in any order of offsets; the latest
   * copy of one wins.
   */
  restore(offset: number, place: Place, frameBytes: number): void {
    if (offset + POLICY_SIZE_MAX < this.first) return;
    // So far above the others, they are out of its history's reach.
    if (this.first > this.top || offset > this.top + POLICY_SIZE_MAX) {
      this.first = offset;
      this.top = offset - 1;
    }
    if (offset > this.top) {
      this.#reserve(offset - this.first + 1);
      for (let hole = this.top + 1; hole < offset; hole++) this.#put(hole, NO_PLACE, 0);
      this.top = offset;
    } else if (offset < this.first) {
      this.#reserve(this.top - offset + 1);
      for (let hole = offset + 1; hole < this.first; hole++) this.#put(hole, NO_PLACE, 0);
      this.first = offset;
    }
    this.#put(offset, place, frameBytes);
    if (offset === this.top) this.topAt = place;
  }

  /**
   * Replay is over: counts what is there and trims it by policy. What lies below a hole is out of
   * reach.
   */
  settle(top: number): void {
    if (top > this.top) {
      this.first = top + 1;
      this.top = top;
    }
    let first = this.top + 1;
    let bytes = 0;
    while (first > this.first && this.placeOf(first - 1) !== NO_PLACE)
      bytes += this.frameBytesOf(--first);
    if (first > this.first) this.trimmed = "evicted";
    this.first = first;
    this.historyBytes = bytes;
    this.#trim();
  }

  #put(offset: number, place: Place, frameBytes: number): void {
    const index = offset & (this.#places.length - 1);
    this.#places[index] = place;
    this.#lengths[index] = frameBytes;
  }

  #trim(): void {
    const { size, bytes } = this.#policy;
    while (this.remembered > size || (this.historyBytes > bytes && this.remembered > 0))
      this.#dropFirst("expired");
  }

  #dropFirst(trimmed: "expired" | "evicted"): void {
    this.historyBytes -= this.frameBytesOf(this.first);
    this.first++;
    this.#expiresAtMs = 0;
    this.trimmed = trimmed;
  }

  #reserve(entries: number): void {
    if (entries <= this.#places.length) return;
    let length = this.#places.length;
    while (length < entries) length *= 2;
    const [places, lengths] = [new Float64Array(length), new Uint32Array(length)];
    for (let offset = this.first; offset <= this.top; offset++) {
      places[offset & (length - 1)] = this.placeOf(offset);
      lengths[offset & (length - 1)] = this.frameBytesOf(offset);
    }
    this.#places = places;
    this.#lengths = lengths;
  }
}
