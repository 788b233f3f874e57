// Order and memory: gives each publication its offset, journals a turn's publications together, and
// only then spreads them. Keeps the ring of segments turning.

import {
  channelIdAt,
  offsetAt,
  opcodeOf,
  PUBLICATION,
  producerHighAt,
  producerLowAt,
  seqAt,
  stamp,
} from "../wire/frame.ts";
import {
  OUTCOME_DUPLICATE,
  OUTCOME_STORAGE,
  OUTCOME_UNKNOWN_CHANNEL,
  type Policy,
} from "../wire/relay-messages.ts";
import { Malformed } from "../wire/shape.ts";
import { type BatchKind, isFiller } from "./batch.ts";
import { Channel } from "./channel.ts";
import { Channels } from "./channels.ts";
import { type Disk, Head } from "./head.ts";
import type { Producers } from "./producers.ts";
import { CHANNEL_ID_MAX, decodeRecord, encodeRecord } from "./records.ts";
import type { RelayLink } from "./relay-link.ts";
import { type Place, positionOf, SEGMENT_BYTES, type Segments, segmentOf } from "./segments.ts";
import { Snapshots } from "./snapshots.ts";

/** How far back a repeat's original is looked for, in publications. */
const ORIGINAL_SEARCH_MAX = 256;
/**
 * The part of the usable segments that history may take: the rest is for definitions, producers,
 * and what is left empty at ends.
 */
const HISTORY_SHARE = 0.6;
/** Segment bytes that a channel may be relied on to need for its definition. */
const BYTES_PER_CHANNEL = 1024;

export class Store {
  readonly segments: Segments;
  readonly producers: Producers;
  readonly channels = new Channels();
  readonly #disk: Disk;
  readonly #head: Head;
  readonly #onFree: (segment: number) => void;
  /** More history than this is evicted when its segment comes round. */
  readonly #historyBytesMax: number;
  readonly channelsMax: number;
  #pass = 0;
  /** Segments that were emptied since something last found room. */
  #emptied = 0;

  /** This turn's publications, not journaled yet: parallel lists, emptied by every commit. */
  readonly #stagedChannel: Channel[] = [];
  readonly #stagedPlace: Place[] = [];
  readonly #stagedTopAt: Place[] = [];
  readonly #stagedLink: RelayLink[] = [];
  readonly #stagedOutcome: number[] = [];

  /**
   * `onFree` is called before a segment's bytes may be reused: whoever still points into it must
   * let go.
   */
  constructor(
    segments: Segments,
    producers: Producers,
    disk: Disk,
    onFree: (segment: number) => void,
  ) {
    this.segments = segments;
    this.producers = producers;
    this.#disk = disk;
    this.#head = new Head(segments, disk, () => this.channels.nextId);
    this.#onFree = onFree;
    this.#historyBytesMax =
      Math.min(segments.wanted / 2, HISTORY_SHARE * segments.usable) * SEGMENT_BYTES;
    this.channelsMax = Math.floor((segments.wanted * SEGMENT_BYTES) / BYTES_PER_CHANNEL);
  }

  /**
   * Goes on where a journal ends that was read back, or begins a new one. `beginsSegment`: not in
   * the segment where that journal ends. False: the disk failed.
   */
  start(beginsSegment = false): boolean {
    return this.#head.start(beginsSegment);
  }

  /**
   * The channel of that name, made and journaled if need be. `epoch` is used for a new one only.
   */
  open(name: string, policy: Policy, epoch: string, nowMs: number): Channel | "limit" | "storage" {
    this.commit();
    const known = this.channels.get(name);
    if (known !== undefined) return this.#adoptPolicy(known, policy);
    if (this.channels.size >= this.channelsMax) this.channels.freeUnused(nowMs);
    const id = this.channels.nextId;
    if (this.channels.size >= this.channelsMax || id > CHANNEL_ID_MAX) return "limit";
    const channel = new Channel(this.segments, id, name, epoch, policy, nowMs);
    if (!this.define(channel)) return "storage";
    this.channels.add(channel);
    return channel;
  }

  /** Journals a channel's definition as it is now. */
  define(channel: Channel): boolean {
    if (!this.#makeRoom(BYTES_PER_CHANNEL)) return false;
    const { definedAt } = channel;
    if (!this.#appendDefinition("commit", channel)) return false;
    if (this.#head.write()) return true;
    // It must not come into the journal with what is written next: nobody is told of it.
    this.#head.retract(channel.definedAt);
    channel.definedAt = definedAt;
    return false;
  }

  /** How much of the head segment is journaled. */
  get writtenBytes(): number {
    return this.#head.written;
  }

  /**
   * Takes a link's PUBLISH: stages it, or answers it, in the link's outcomes. Nobody sees it, nor
   * its outcome, before commit. Throws Malformed for a seq of 0.
   */
  publish(link: RelayLink, frame: Uint8Array, start: number, end: number, nowMs: number): void {
    const channel = this.channels.withId(channelIdAt(frame, start));
    if (channel === undefined) {
      link.outcomes.push(OUTCOME_UNKNOWN_CHANNEL);
      return;
    }
    const high = producerHighAt(frame, start);
    const low = producerLowAt(frame, start);
    const seq = seqAt(frame, start);
    if (seq === 0) throw new Malformed("a publication's seq begins at 1");
    if (!this.#makeRoom(end - start)) {
      this.#refuse(link, channel);
      return;
    }
    const { segments } = this;
    if (!this.producers.record(high, low, seq)) {
      // The original may be staged in this very turn, and its commit may fail: then this is not a
      // repeat.
      this.commit();
      if (!this.producers.record(high, low, seq)) {
        link.outcomes.push(this.#originalOffset(channel, high, low, seq));
        return;
      }
    }
    const isRefused = link.refusing.size > 0 && link.refusing.has(channel.id);
    if (isRefused || !this.#head.open("commit")) {
      this.producers.forget(high, low, seq);
      this.#refuse(link, channel);
      return;
    }
    const position = segments.end;
    const place = segments.append(frame, start, end);
    stamp(segments.bytes(segments.head), position, channel.top + 1, nowMs);
    this.#stagedChannel.push(channel);
    this.#stagedPlace.push(place);
    this.#stagedTopAt.push(channel.topAt);
    this.#stagedLink.push(link);
    this.#stagedOutcome.push(link.outcomes.length);
    this.channels.historyBytes += channel.append(place, end - start, nowMs);
    link.outcomes.push(channel.top);
  }

  /** Journals what is staged, in one write, and spreads it; or, where that fails, refuses it. */
  commit(): void {
    const staged = this.#stagedChannel.length;
    if (staged === 0) return;
    if (this.#head.write()) this.#spread(staged);
    else this.#retract(staged);
    this.#stagedChannel.length = 0;
    this.#stagedPlace.length = 0;
    this.#stagedTopAt.length = 0;
    this.#stagedLink.length = 0;
    this.#stagedOutcome.length = 0;
  }

  /** Once a second or so: lets go of what nobody wants any more. */
  sweep(nowMs: number): void {
    this.commit();
    this.channels.sweep(nowMs);
  }

  /**
   * Hands the staged frames, which lie one behind the other at the end of the head, to the links
   * that want them.
   */
  #spread(staged: number): void {
    const end = this.segments.head * SEGMENT_BYTES + this.segments.end;
    for (let i = 0; i < staged; i++) {
      const from = this.#stagedPlace[i];
      const to = i + 1 < staged ? this.#stagedPlace[i + 1] : end;
      const live = this.#stagedChannel[i].live;
      for (let j = 0; j < live.length; j++) live[j].sendRun(from, to);
    }
  }

  /** Answers a publication that is not stored. */
  #refuse(link: RelayLink, channel: Channel): void {
    link.outcomes.push(OUTCOME_STORAGE);
    link.refusing.add(channel.id);
  }

  #retract(staged: number): void {
    const { segments } = this;
    const head = segments.bytes(segments.head);
    for (let i = staged - 1; i >= 0; i--) {
      const place = this.#stagedPlace[i];
      const position = positionOf(place);
      this.channels.historyBytes -= this.#stagedChannel[i].retract(
        segments.frameBytes(place),
        this.#stagedTopAt[i],
      );
      this.producers.forget(
        producerHighAt(head, position),
        producerLowAt(head, position),
        seqAt(head, position),
      );
      this.#stagedLink[i].outcomes[this.#stagedOutcome[i]] = OUTCOME_STORAGE;
      this.#stagedLink[i].refusing.add(this.#stagedChannel[i].id);
    }
    this.#head.retract(this.#stagedPlace[0]);
  }

  #adoptPolicy(channel: Channel, policy: Policy): Channel | "storage" {
    const { size, ttlMs, bytes } = channel.policy;
    if (size === policy.size && ttlMs === policy.ttlMs && bytes === policy.bytes) return channel;
    this.channels.historyBytes -= channel.setPolicy(policy);
    return this.define(channel) ? channel : "storage";
  }

  #originalOffset(channel: Channel, high: number, low: number, seq: number): number {
    const last = Math.max(channel.first, channel.top - ORIGINAL_SEARCH_MAX + 1);
    for (let offset = channel.top; offset >= last; offset--) {
      const place = channel.placeOf(offset);
      const bytes = this.segments.bytes(segmentOf(place));
      const at = positionOf(place);
      if (
        seqAt(bytes, at) === seq &&
        producerLowAt(bytes, at) === low &&
        producerHighAt(bytes, at) === high
      )
        return offset;
    }
    return OUTCOME_DUPLICATE;
  }

  #appendDefinition(kind: BatchKind, channel: Channel): boolean {
    const { id, name, epoch, top, policy } = channel;
    const place = this.#head.append(
      kind,
      encodeRecord({ type: "define", id, channel: name, epoch, top, policy }),
    );
    if (place === undefined) return false;
    channel.definedAt = place;
    return true;
  }

  /**
   * Sees to it that so many bytes fit into the head. False: the disk failed, or there is no room.
   */
  #makeRoom(bytes: number): boolean {
    while (!this.#head.hasRoom(bytes)) if (!this.#advance()) return false;
    this.#emptied = 0;
    return true;
  }

  /**
   * Makes the next segment the head, and empties the oldest ones until there are spares again. Once
   * round without finding room, history gives way; twice, there is none.
   */
  #advance(): boolean {
    this.commit();
    if (!this.#head.write() || !this.#head.beginSegment()) return false;
    const roundTwice = 2 * this.segments.count;
    while (this.segments.isFull && this.#emptied < roundTwice && this.#recycleOldest());
    if (this.#emptied < roundTwice) return true;
    this.#emptied = 0;
    return false;
  }

  /**
   * Copies forward what is still wanted of the oldest segment, then frees it. False: the disk
   * failed; it stays for now.
   */
  #recycleOldest(): boolean {
    const { segments } = this;
    const oldest = segments.oldest;
    const bytes = segments.bytes(oldest);
    const end = segments.endOf(oldest);
    const snapshots = new Snapshots(this.producers, ++this.#pass);
    for (let at = 0; at < end; ) {
      const place = oldest * SEGMENT_BYTES + at;
      const next = at + segments.frameBytes(place);
      const isPublication = opcodeOf(bytes, at) === PUBLICATION;
      const kept = isPublication
        ? this.#keepPublication(bytes, at, next, place, snapshots)
        : this.#keepRecord(bytes, at, next, place, snapshots);
      if (!kept) return false;
      at = next;
    }
    for (const record of snapshots.records())
      if (this.#head.append("copy", record) === undefined) return false;
    if (!this.#head.write()) return false;
    this.#onFree(oldest);
    segments.freeOldest();
    this.#disk.remove(oldest);
    this.#emptied++;
    return true;
  }

  #keepPublication(
    bytes: Uint8Array,
    at: number,
    end: number,
    place: Place,
    snapshots: Snapshots,
  ): boolean {
    const channel = this.channels.withId(channelIdAt(bytes, at));
    const offset = offsetAt(bytes, at);
    if (channel?.holds(offset, place)) {
      if (
        this.channels.historyBytes <= this.#historyBytesMax &&
        this.#emptied < this.segments.count
      ) {
        const copy = this.#head.append("copy", bytes, at, end);
        if (copy !== undefined) channel.move(offset, copy);
        return copy !== undefined;
      }
      this.channels.historyBytes -= channel.evict(offset);
    }
    snapshots.add(producerHighAt(bytes, at), producerLowAt(bytes, at), seqAt(bytes, at));
    return channel?.topAt !== place || this.#appendDefinition("copy", channel);
  }

  #keepRecord(
    bytes: Uint8Array,
    at: number,
    end: number,
    place: Place,
    snapshots: Snapshots,
  ): boolean {
    if (isFiller(opcodeOf(bytes, at))) return true;
    const record = decodeRecord(bytes, at, end);
    if (record.type === "producers") {
      snapshots.addAll(record.snapshots);
      return true;
    }
    const channel = record.type === "define" ? this.channels.withId(record.id) : undefined;
    return channel?.definedAt !== place || this.#appendDefinition("copy", channel);
  }
}
