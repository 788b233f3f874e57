// Reads journal segments back into a store, so that the successor of a relay that died knows what
// it knew. Pure: bytes in, state out.

import { readU32 } from "../wire/bytes.ts";
import {
  channelIdAt,
  FRAME_BYTES_MAX,
  isPublicationLayout,
  offsetAt,
  opcodeOf,
  PUBLICATION,
  PUBLICATION_HEAD_BYTES,
  producerHighAt,
  producerLowAt,
  seqAt,
} from "../wire/frame.ts";
import { OFFSET_MAX } from "../wire/position.ts";
import { POLICY_SIZE_MAX } from "../wire/relay-messages.ts";
import { Malformed } from "../wire/shape.ts";
import { Channel } from "./channel.ts";
import { SNAPSHOT_BYTES } from "./producers.ts";
import { decodeRecord, RECORD_BYTES_MAX } from "./records.ts";
import { SEGMENT_BYTES, type Segments } from "./segments.ts";
import type { Store } from "./store.ts";

/** A segment that was read into the store's memory: its number and how many bytes its file had. */
export type ReadSegment = { readonly number: number; readonly length: number };

/**
 * What a replay came to. `ends`: where the last whole frame of each segment ends; what follows in
 * the newest was never acknowledged, and in any can never be read. `damaged`: publications may be
 * missing, which only a fault of the disk or a loss of power can cause.
 */
export type Replayed = { readonly ends: readonly number[]; readonly damaged: boolean };

/**
 * Fills the store from its segments, oldest first. A channel's definition may lie behind its
 * publications, so definitions are read first. With `newEpoch`, or when anything is damaged, every
 * channel begins a new lineage by `newEpoch`.
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
  let damaged = whole.some(
    ({ end, isTorn }, i) => end < read[i].length && !(isTorn && i === read.length - 1),
  );
  read.forEach(({ number }, i) => {
    segments.cut(number, whole[i].end);
  });
  const channels = new Map<number, Channel>();
  const tops = new Map<Channel, number>();

  const records = read.flatMap(({ number }, i) =>
    whole[i].records.map((at) => recordAt(segments, number, at)),
  );
  for (const { record, place } of records) {
    if (record.type !== "define") continue;
    const { id, channel: name, epoch, policy, top } = record;
    const channel = channels.get(id) ?? new Channel(segments, { id, name, epoch, policy, nowMs });
    channel.epoch = epoch;
    channel.setPolicy(policy);
    channel.definedAt = place;
    channels.set(id, channel);
    tops.set(channel, top);
  }
  let next = 0;
  read.forEach(({ number }, i) => {
    const bytes = segments.bytes(number);
    for (let at = 0, end = 0; at < whole[i].end; at = end) {
      end = at + 4 + readU32(bytes, at);
      if (opcodeOf(bytes, at) !== PUBLICATION) restoreProducers(store, records[next++].record);
      else if (!restorePublication(store, channels, bytes, at, end, number * SEGMENT_BYTES + at))
        damaged = true;
    }
  });

  const newest = new Map([...channels.values()].map((channel) => [channel.name, channel]));
  for (const channel of newest.values()) {
    if (damaged || mayHaveLost) channel.epoch = newEpoch();
    channel.settle(tops.get(channel) ?? 0);
    store.channels.add(channel);
  }
  return { ends: whole.map(({ end }) => end), damaged };
}

/**
 * How far a segment holds whole frames, and where those are that are no publications. `isTorn`:
 * what follows is what a write leaves that was cut off, or nothing but zeros.
 */
function wholeBytes(
  bytes: Uint8Array,
  length: number,
): { end: number; isTorn: boolean; records: number[] } {
  const records: number[] = [];
  let at = 0;
  while (at < length) {
    const end = length - at < 4 ? length + 1 : at + 4 + readU32(bytes, at);
    if (end > length) return { end: at, isTorn: isBeginning(bytes, at, end, length), records };
    if (!isWholeFrame(bytes, at, end))
      return { end: at, isTorn: bytes.subarray(at, length).every((byte) => byte === 0), records };
    if (opcodeOf(bytes, at) !== PUBLICATION) records.push(at);
    at = end;
  }
  return { end: at, isTorn: false, records };
}

/**
 * Whether a frame of which only the bytes up to `length` are there may have been cut off; if not,
 * its length field is wrong.
 */
function isBeginning(bytes: Uint8Array, at: number, end: number, length: number): boolean {
  if (length - at < 6) return true;
  if (opcodeOf(bytes, at) !== PUBLICATION) return end - at <= RECORD_BYTES_MAX;
  return length - at < PUBLICATION_HEAD_BYTES
    ? end - at <= FRAME_BYTES_MAX
    : isPublicationLayout(bytes, at, end);
}

function isWholeFrame(bytes: Uint8Array, at: number, end: number): boolean {
  if (end - at < 6) return false;
  if (opcodeOf(bytes, at) === PUBLICATION) {
    const offset = offsetAt(bytes, at);
    return (
      isPublicationLayout(bytes, at, end) &&
      offset >= 1 &&
      offset <= OFFSET_MAX &&
      seqAt(bytes, at) >= 1
    );
  }
  try {
    decodeRecord(bytes, at, end);
    return true;
  } catch (error) {
    if (error instanceof Malformed) return false;
    throw error;
  }
}

function recordAt(segments: Segments, segment: number, at: number) {
  const bytes = segments.bytes(segment);
  return {
    record: decodeRecord(bytes, at, at + 4 + readU32(bytes, at)),
    place: segment * SEGMENT_BYTES + at,
  };
}

/**
 * False: the publication cannot be where its offset says. What of a channel is in the journal lies
 * close together.
 */
function restorePublication(
  store: Store,
  channels: Map<number, Channel>,
  bytes: Uint8Array,
  at: number,
  end: number,
  place: number,
): boolean {
  const channel = channels.get(channelIdAt(bytes, at));
  const offset = offsetAt(bytes, at);
  if (channel?.isFarFrom(offset, POLICY_SIZE_MAX) === true) return false;
  channel?.restore(offset, place, end - at);
  store.producers.record(producerHighAt(bytes, at), producerLowAt(bytes, at), seqAt(bytes, at));
  return true;
}

function restoreProducers(store: Store, record: ReturnType<typeof decodeRecord>): void {
  if (record.type !== "producers") return;
  const { snapshots } = record;
  for (let at = 0; at + SNAPSHOT_BYTES <= snapshots.length; at += SNAPSHOT_BYTES)
    store.producers.restore(snapshots, at);
}
