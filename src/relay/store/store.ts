// Order and history: gives each publication its offset, journals a turn's publications in one
// write, and only then forwards them. Recycles the ring of segments.

import {
  afterAt,
  ageAt,
  channelIdAt,
  offsetAt,
  opcodeOf,
  orderHighAt,
  orderLowAt,
  PUBLICATION,
  producerHighAt,
  producerLowAt,
  seqAt,
  setSeq,
  stamp,
} from "../../wire/frame.ts";
import {
  OUTCOME_DUPLICATE,
  OUTCOME_ORDER,
  OUTCOME_STORAGE,
  OUTCOME_UNKNOWN,
  OUTCOME_UNKNOWN_CHANNEL,
  type Policy,
} from "../../wire/relay-messages.ts";
import { Malformed } from "../../wire/shape.ts";
import { Channel } from "../channels/channel.ts";
import { Channels } from "../channels/channels.ts";
import { type Producers, SNAPSHOT_BYTES, SNAPSHOT_BYTES_VERSION_1 } from "../channels/producers.ts";
import { type BatchKind, isFiller } from "../journal/batch.ts";
import { type Disk, Head } from "../journal/head.ts";
import { CHANNEL_ID_MAX, decodeRecord, encodeRecord } from "../journal/records.ts";
import { type Place, SEGMENT_BYTES, type Segments } from "../journal/segments.ts";
import type { RelayLink } from "../links/relay-link.ts";
import { Snapshots } from "./snapshots.ts";
import { StagedPublications } from "./staged-publications.ts";

/** How many publications are searched for the original of a repeat. */
const ORIGINAL_SEARCH_MAX = 256;
/**
 * The share of the usable segments that history may fill; the rest is for definitions, producers,
 * and unused ends of segments.
 */
const HISTORY_SHARE = 0.6;
/** The one seq of the producer that a key stands for. */
const KEY_SEQ = 1;
/** Segment bytes that are reckoned for one channel's definition. */
const BYTES_PER_CHANNEL = 1024;

export class Store {
  readonly segments: Segments;
  readonly producers: Producers;
  readonly channels = new Channels();
  readonly #disk: Disk;
  readonly #head: Head;
  readonly #onFree: (segment: number) => void;
  /** History beyond this is evicted when its segment is recycled. */
  readonly #historyBytesMax: number;
  readonly channelsMax: number;
  #pass = 0;
  /** Segments recycled since something last found room. */
  #emptied = 0;

  readonly #staged: StagedPublications;

  /**
   * `onFree` is called before a segment's bytes may be reused: no outbox may refer to it any more.
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
    this.#staged = new StagedPublications(segments);
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

  /** The channel of that name, created and journaled if needed. `epoch`: of a new one. */
  open(name: string, policy: Policy, epoch: string, nowMs: number): Channel | "limit" | "storage" {
    this.commit();
    const known = this.channels.get(name);
    if (known !== undefined) return this.#adoptPolicy(known, policy);
    if (this.channels.size >= this.channelsMax) this.channels.freeUnused(nowMs);
    const id = this.channels.nextId;
    if (this.channels.size >= this.channelsMax || id > CHANNEL_ID_MAX) return "limit";
    const channel = new Channel(this.segments, { id, name, epoch, policy, nowMs });
    if (!this.define(channel)) return "storage";
    this.channels.add(channel);
    return channel;
  }

  /** Journals a channel's current definition. False: the disk failed, or there is no room. */
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
   * Handles a link's PUBLISH: stages it or answers it, in the link's outcomes. Neither it nor its
   * outcome is sent before commit. Throws Malformed for a seq of 0.
   */
  publish(link: RelayLink, frame: Uint8Array, start: number, end: number, nowMs: number): void {
    const channel = this.channels.withId(channelIdAt(frame, start));
    if (channel === undefined) {
      link.outcomes.push(OUTCOME_UNKNOWN_CHANNEL);
      return;
    }
    const seq = seqAt(frame, start);
    if (seq === 0) throw new Malformed("a publication's seq begins at 1");
    if (!this.#makeRoom(end - start)) {
      link.outcomes.push(OUTCOME_STORAGE);
      return;
    }
    const high = producerHighAt(frame, start);
    const low = producerLowAt(frame, start);
    const orderHigh = orderHighAt(frame, start);
    const orderLow = orderLowAt(frame, start);
    const { producers, segments } = this;
    // One with a key is known by the key, and has its seq in the order of its publisher.
    const hasOrder = orderHigh !== 0 || orderLow !== 0;
    const isKeyed = hasOrder && (orderHigh !== high || orderLow !== low);
    const identitySeq = isKeyed ? KEY_SEQ : seq;
    let isRepeat = producers.isRepeat(high, low, identitySeq);
    if (isRepeat) {
      // The original may be staged in this turn. If its commit fails, this is not a repeat.
      this.commit();
      isRepeat = producers.isRepeat(high, low, identitySeq);
    }
    const after = afterAt(frame, start);
    const isNext = after === 0 || producers.has(orderHigh, orderLow, after);
    if (isRepeat) {
      if (isKeyed && isNext) producers.record(orderHigh, orderLow, seq, nowMs);
      const original = channel.offsetOf(high, low, identitySeq, ORIGINAL_SEARCH_MAX);
      link.outcomes.push(original ?? OUTCOME_DUPLICATE);
      return;
    }
    if (!isNext) {
      link.outcomes.push(OUTCOME_ORDER);
      return;
    }
    const age = ageAt(frame, start);
    if (age > 0 && !producers.isKnown(high, low) && producers.mayHaveForgotten(high, nowMs - age)) {
      link.outcomes.push(OUTCOME_UNKNOWN);
      return;
    }
    if (!this.#head.open("commit")) {
      link.outcomes.push(OUTCOME_STORAGE);
      return;
    }
    const before = producers.record(high, low, identitySeq, nowMs);
    if (isKeyed) {
      const orderBefore = producers.record(orderHigh, orderLow, seq, nowMs);
      this.#staged.stageOrder(orderHigh, orderLow, seq, orderBefore);
    }
    const position = segments.end;
    const place = segments.append(frame, start, end);
    const head = segments.bytes(segments.head);
    stamp(head, position, channel.top + 1, nowMs);
    if (isKeyed) setSeq(head, position, KEY_SEQ);
    this.#staged.stage(channel, link, place, before);
    this.channels.historyBytes += channel.appendPublication(place, end - start, nowMs);
    link.outcomes.push(channel.top);
  }

  /** Journals what is staged in one write and forwards it; refuses it when the write fails. */
  commit(): void {
    if (this.#staged.isEmpty) return;
    if (this.#head.write()) this.#staged.forward();
    else this.#head.retract(this.#staged.retract(this.channels, this.producers));
    this.#staged.clear();
  }

  /** To be called about once a second: expires history and frees unused channels. */
  sweep(nowMs: number): void {
    this.commit();
    this.channels.sweep(nowMs);
  }

  #adoptPolicy(channel: Channel, policy: Policy): Channel | "storage" {
    const { size, ttlMs, bytes } = channel.policy;
    if (size === policy.size && ttlMs === policy.ttlMs && bytes === policy.bytes) return channel;
    this.channels.historyBytes -= channel.setPolicy(policy);
    return this.define(channel) ? channel : "storage";
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

  /** Ensures that so many bytes fit into the head. False: the disk failed, or there is no room. */
  #makeRoom(bytes: number): boolean {
    while (!this.#head.hasRoom(bytes)) if (!this.#advance()) return false;
    this.#emptied = 0;
    return true;
  }

  /**
   * Makes the next segment the head, and recycles the oldest ones until there are spares again. One
   * round without finding room: history is evicted. Two rounds: there is no room.
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
   * Copies forward what is still needed of the oldest segment, then frees it. False: the disk
   * failed and the segment stays.
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
    if (record.type === "producers" || record.type === "producers1") {
      const bytesEach = record.type === "producers" ? SNAPSHOT_BYTES : SNAPSHOT_BYTES_VERSION_1;
      snapshots.addAll(record.snapshots, bytesEach);
      return true;
    }
    const channel = record.type === "define" ? this.channels.withId(record.id) : undefined;
    return channel?.definedAt !== place || this.#appendDefinition("copy", channel);
  }
}
