// Reads journal segments back into a store, so that the successor of a relay that died knows what
// it knew. Pure: bytes in, state out.

import { readU32 } from "../../wire/bytes.ts";
import {
  channelIdAt,
  isPublicationLayout,
  offsetAt,
  opcodeOf,
  PUBLICATION,
  producerHighAt,
  producerLowAt,
  seqAt,
  timeAt,
} from "../../wire/frame.ts";
import { Malformed } from "../../wire/shape.ts";
import { Channel, NO_PLACE } from "../channels/channel.ts";
import { SNAPSHOT_BYTES, SNAPSHOT_BYTES_VERSION_1 } from "../channels/producers.ts";
import { batchKindOf, eraseDamage, isFiller, readBatch } from "../journal/batch.ts";
import { DEFINITION_BYTES_MIN, decodeRecord } from "../journal/records.ts";
import { type Place, SEGMENT_BYTES } from "../journal/segments.ts";
import type { Store } from "./store.ts";

/** The opcode with which a segment of version 1 begins. */
const VERSION_1_OPCODE = 0x50;

/** A segment that was read into the store's memory: its number and how many bytes its file had. */
export type ReadSegment = { readonly number: number; readonly length: number };

/** Bytes that could not be believed: in which segment, where they begin, how many they are. */
export type Damage = { readonly segment: number; readonly at: number; readonly bytes: number };

/**
 * What a replay came to. `ends`: where the usable part of each segment ends; what follows in the
 * newest was never acknowledged, and in any can never be read. `damages`: what was lost to a fault
 * of the disk. `renewed`: channels that have begun a new epoch, which the journal does not say yet.
 */
export type Replayed = {
  readonly ends: readonly number[];
  readonly damages: readonly Damage[];
  readonly renewed: readonly Channel[];
};

/** Where a segment's usable part ends, where nothing in it can be believed, and its records. */
type Layout = {
  readonly end: number;
  readonly damages: readonly Damage[];
  readonly records: readonly number[];
  readonly isVersion1: boolean;
};

/** A channel while the journal is read. `provedAt`: where its newest publication is said last. */
type Found = { readonly channel: Channel; top: number; provedAt: Place };

export type ReplayOptions = {
  readonly nowMs: number;
  /** Publications may be missing that no damage shows: every channel begins a new epoch. */
  readonly mayHaveLost: boolean;
  readonly newEpoch: () => string;
};

/**
 * Fills the store from its segments, oldest first, and yields after each. A channel's definition
 * may lie behind its publications, so definitions are read first. A channel whose newest
 * publication may have been in a part that is damaged begins a new epoch.
 */
export function* replay(
  store: Store,
  read: readonly ReadSegment[],
  { nowMs, mayHaveLost, newEpoch }: ReplayOptions,
): Generator<undefined, Replayed, undefined> {
  const { segments } = store;
  const found = new Map<number, Found>();
  const layouts: Layout[] = [];
  for (const [i, { number, length }] of read.entries()) {
    const layout = layoutOf(segments.bytes(number), number, length, i === read.length - 1);
    layouts.push(layout);
    segments.cut(number, layout.end);
    for (const { at, bytes } of layout.damages)
      if (at < layout.end) eraseDamage(segments.bytes(number), at, bytes);
    for (const at of layout.records) readDefinition(store, found, number, at, nowMs);
    yield;
  }
  for (const [i, { number }] of read.entries()) {
    readPublications(store, found, number, layouts[i], nowMs);
    yield;
  }
  const damages = layouts.flatMap((layout) => layout.damages);
  // Version 1 knew producers by other numbers.
  if (damages.length > 0 || layouts.some(({ isVersion1 }) => isVersion1))
    store.producers.lostSome(nowMs);
  const isUnproven =
    mayHaveLost || layouts.some((each) => each.isVersion1 && each.damages.length > 0);
  const last = damages.at(-1);
  const damagedAt = last === undefined ? NO_PLACE : last.segment * SEGMENT_BYTES + last.at;
  const renewed: Channel[] = [];
  const newest = new Map([...found.values()].map((each) => [each.channel.name, each]));
  for (const { channel, top, provedAt } of newest.values()) {
    if (isUnproven || provedAt < damagedAt) {
      channel.epoch = newEpoch();
      renewed.push(channel);
    }
    channel.settle(top);
    store.channels.add(channel);
  }
  const lostBytes = damages.reduce((sum, { bytes }) => sum + bytes, 0);
  store.channels.raiseNextId(store.channels.nextId + Math.ceil(lostBytes / DEFINITION_BYTES_MIN));
  return { ends: layouts.map(({ end }) => end), damages, renewed };
}

function layoutOf(bytes: Buffer, segment: number, length: number, isNewest: boolean): Layout {
  if (length >= 6 && opcodeOf(bytes, 0) === VERSION_1_OPCODE)
    return layoutOfVersion1(bytes, segment, length, isNewest);
  const damages: Damage[] = [];
  const records: number[] = [];
  let at = 0;
  while (at < length) {
    const batch = readBatch(bytes, at, length, segment);
    if (batch.is === "whole") findRecords(bytes, batch.from, batch.end, records);
    else if (batch.is === "damaged") damages.push({ segment, at, bytes: batch.end - at });
    else break;
    at = batch.end;
  }
  // Only the newest segment was being written when the relay died.
  if (at < length && !isNewest) damages.push({ segment, at, bytes: length - at });
  return { end: at, damages, records, isVersion1: false };
}

/** A segment of version 1, which has no batches, is taken as far as it holds whole frames. */
function layoutOfVersion1(
  bytes: Buffer,
  segment: number,
  length: number,
  isNewest: boolean,
): Layout {
  const records: number[] = [];
  let at = 0;
  for (let end = frameEnd(bytes, at, length); end !== undefined; ) {
    if (opcodeOf(bytes, at) !== PUBLICATION) records.push(at);
    at = end;
    end = frameEnd(bytes, at, length);
  }
  const isDamaged = at < length && !isNewest;
  const damages = isDamaged ? [{ segment, at, bytes: length - at }] : [];
  return { end: at, damages, records, isVersion1: true };
}

function findRecords(bytes: Buffer, from: number, to: number, records: number[]): void {
  for (let at = from; at < to; at += 4 + readU32(bytes, at))
    if (opcodeOf(bytes, at) !== PUBLICATION) records.push(at);
}

/** Where the frame at `at` ends; undefined: there is none that can be read. */
function frameEnd(bytes: Buffer, at: number, length: number): number | undefined {
  if (length - at < 6) return undefined;
  const end = at + 4 + readU32(bytes, at);
  if (end - at < 6 || end > length) return undefined;
  if (opcodeOf(bytes, at) === PUBLICATION)
    return isPublicationLayout(bytes, at, end) && offsetAt(bytes, at) >= 1 ? end : undefined;
  try {
    decodeRecord(bytes, at, end);
    return end;
  } catch (error) {
    if (error instanceof Malformed) return undefined;
    throw error;
  }
}

function readDefinition(
  store: Store,
  found: Map<number, Found>,
  segment: number,
  at: number,
  nowMs: number,
): void {
  const { segments, channels } = store;
  const bytes = segments.bytes(segment);
  const record = decodeRecord(bytes, at, at + 4 + readU32(bytes, at));
  if (record.type === "segment") channels.raiseNextId(record.nextId);
  if (record.type !== "define") return;
  const { id, channel: name, epoch, policy, top } = record;
  const place = segment * SEGMENT_BYTES + at;
  const channel =
    found.get(id)?.channel ?? new Channel(segments, { id, name, epoch, policy, nowMs });
  channel.epoch = epoch;
  channel.setPolicy(policy);
  channel.definedAt = place;
  found.set(id, { channel, top, provedAt: place });
}

/** What the frames between the records say; producers in the order in which they were written. */
function readPublications(
  store: Store,
  found: Map<number, Found>,
  segment: number,
  { end }: Layout,
  nowMs: number,
): void {
  const bytes = store.segments.bytes(segment);
  let isCopy = false;
  for (let at = 0, next = 0; at < end; at = next) {
    next = at + 4 + readU32(bytes, at);
    const opcode = opcodeOf(bytes, at);
    if (opcode === PUBLICATION) {
      const id = channelIdAt(bytes, at);
      const place = segment * SEGMENT_BYTES + at;
      const known = found.get(id);
      known?.channel.restore(offsetAt(bytes, at), place, next - at);
      if (known !== undefined && !isCopy && place > known.provedAt) known.provedAt = place;
      store.channels.raiseNextId(id + 1);
      store.producers.record(
        producerHighAt(bytes, at),
        producerLowAt(bytes, at),
        seqAt(bytes, at),
        timeAt(bytes, at),
      );
    } else if (isFiller(opcode)) {
      isCopy = batchKindOf(opcode) === "copy";
    } else {
      restoreProducers(store, decodeRecord(bytes, at, next), nowMs);
    }
  }
}

function restoreProducers(
  store: Store,
  record: ReturnType<typeof decodeRecord>,
  nowMs: number,
): void {
  const { producers } = store;
  if (record.type === "forgotten") return producers.restoreForgotten(record.owners);
  if (record.type === "producers") {
    const { snapshots } = record;
    for (let at = 0; at + SNAPSHOT_BYTES <= snapshots.length; at += SNAPSHOT_BYTES)
      producers.restore(snapshots, at);
  } else if (record.type === "producers1") {
    const { snapshots } = record;
    const bytesEach = SNAPSHOT_BYTES_VERSION_1;
    for (let at = 0; at + bytesEach <= snapshots.length; at += bytesEach)
      producers.restore(snapshots, at, nowMs);
  }
}
