// Reads journal segments back into a store, so that the successor of a relay that died knows what it knew. Pure: bytes in, state out.

import { readU32 } from "../wire/bytes.ts";
import {
  channelIdAt,
  isPublicationLayout,
  offsetAt,
  opcodeOf,
  PUBLICATION,
  producerHighAt,
  producerLowAt,
  seqAt,
} from "../wire/frame.ts";
import { Malformed } from "../wire/shape.ts";
import { Channel } from "./channel.ts";
import { SNAPSHOT_BYTES } from "./producers.ts";
import { decodeRecord } from "./records.ts";
import { SEGMENT_BYTES, type Segments } from "./segments.ts";
import type { Store } from "./store.ts";

/** A segment that was read into the store's memory: its number and how many bytes its file had. */
export type ReadSegment = { readonly number: number; readonly length: number };

/**
 * What a replay came to. `headEnd`: where the last whole frame of the newest segment ends; what follows was never acknowledged.
 * `damaged`: publications may be missing, which only a fault of the disk or a loss of power can cause.
 */
export type Replayed = { readonly headEnd: number; readonly damaged: boolean };

/**
 * Fills the store from its segments, oldest first. A channel's definition may lie behind its publications, so definitions are
 * read first. With `newEpoch`, or when anything is damaged, every channel begins a new lineage by `newEpoch`.
 */
export function replay(
  store: Store,
  read: readonly ReadSegment[],
  nowMs: number,
  mayHaveLost: boolean,
  newEpoch: () => string,
): Replayed {
  const { segments } = store;
  const whole = read.map(({ number, length }) => wholeBytes(segments.bytes(number), length));
  const damaged = whole.some(({ end, isTorn }, i) => end < read[i].length && !(isTorn && i === read.length - 1));
  const channels = new Map<number, Channel>();
  const tops = new Map<Channel, number>();

  read.forEach(({ number }, i) => {
    eachFrame(segments, number, whole[i].end, (bytes, at, end, place) => {
      if (opcodeOf(bytes, at) === PUBLICATION) return;
      const record = decodeRecord(bytes, at, end);
      if (record.type !== "define") return;
      const { id, channel: name, epoch, policy, top } = record;
      const channel = channels.get(id) ?? new Channel(segments, id, name, epoch, policy, nowMs);
      channel.epoch = epoch;
      channel.policy = policy;
      channel.definedAt = place;
      channels.set(id, channel);
      tops.set(channel, top);
    });
  });
  read.forEach(({ number }, i) => {
    eachFrame(segments, number, whole[i].end, (bytes, at, end, place) => {
      if (opcodeOf(bytes, at) === PUBLICATION) restorePublication(store, channels, bytes, at, place);
      else restoreProducers(store, decodeRecord(bytes, at, end));
    });
  });

  const newest = new Map([...channels.values()].map((channel) => [channel.name, channel]));
  for (const channel of newest.values()) {
    if (damaged || mayHaveLost) channel.epoch = newEpoch();
    store.restore(channel, channel.settle(tops.get(channel) ?? 0));
  }
  return { headEnd: whole.at(-1)?.end ?? 0, damaged };
}

/** How far a segment holds whole frames. `isTorn`: what follows is the beginning of one, or nothing but zeros. */
function wholeBytes(bytes: Uint8Array, length: number): { end: number; isTorn: boolean } {
  let at = 0;
  while (at < length) {
    const end = length - at < 4 ? length + 1 : at + 4 + readU32(bytes, at);
    if (end > length) return { end: at, isTorn: end - at <= SEGMENT_BYTES };
    if (!isWholeFrame(bytes, at, end))
      return { end: at, isTorn: bytes.subarray(at, length).every((byte) => byte === 0) };
    at = end;
  }
  return { end: at, isTorn: false };
}

function isWholeFrame(bytes: Uint8Array, at: number, end: number): boolean {
  if (end - at < 6) return false;
  if (opcodeOf(bytes, at) === PUBLICATION) return isPublicationLayout(bytes, at, end);
  try {
    decodeRecord(bytes, at, end);
    return true;
  } catch (error) {
    if (error instanceof Malformed) return false;
    throw error;
  }
}

function eachFrame(
  segments: Segments,
  segment: number,
  end: number,
  onFrame: (bytes: Uint8Array, at: number, end: number, place: number) => void,
): void {
  const bytes = segments.bytes(segment);
  for (let at = 0; at < end; ) {
    const next = at + 4 + readU32(bytes, at);
    onFrame(bytes, at, next, segment * SEGMENT_BYTES + at);
    at = next;
  }
}

function restorePublication(
  store: Store,
  channels: Map<number, Channel>,
  bytes: Uint8Array,
  at: number,
  place: number,
): void {
  channels.get(channelIdAt(bytes, at))?.restore(offsetAt(bytes, at), place);
  store.producers.record(producerHighAt(bytes, at), producerLowAt(bytes, at), seqAt(bytes, at));
}

function restoreProducers(store: Store, record: ReturnType<typeof decodeRecord>): void {
  if (record.type !== "producers") return;
  const { snapshots } = record;
  for (let at = 0; at + SNAPSHOT_BYTES <= snapshots.length; at += SNAPSHOT_BYTES)
    store.producers.restore(snapshots, at);
}
