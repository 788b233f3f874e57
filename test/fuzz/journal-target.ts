// Fuzz target of the relay's journal: recovery from files that are truncated, corrupted or not a
// journal.

import { Producers } from "../../src/relay/channels/producers.ts";
import type { Disk } from "../../src/relay/journal/head.ts";
import {
  positionOf,
  SEGMENT_BYTES,
  Segments,
  segmentOf,
} from "../../src/relay/journal/segments.ts";
import { gatherBuffer } from "../../src/relay/links/outbox.ts";
import { RelayLink } from "../../src/relay/links/relay-link.ts";
import { replay } from "../../src/relay/store/replay.ts";
import { Store } from "../../src/relay/store/store.ts";
import { encodePublish, offsetAt } from "../../src/wire/frame.ts";
import { badInput } from "./mutate.ts";
import { must, type Target, utf8 } from "./target.ts";

const POLICY = { size: 50, ttlMs: 60_000, bytes: 1_000_000 };
const NOWHERE: Disk = { create: () => true, write: () => true, remove() {} };
/** Segments are large and slow to allocate: all runs share these, and clear what they used. */
const COUNT = 8;
const segments = new Segments(COUNT);
const USED_BYTES = 400_000;

function newStore(producers = new Producers(1 << 10)): Store {
  segments.oldest = 0;
  segments.head = 0;
  segments.end = 0;
  return new Store(segments, producers, NOWHERE, () => {});
}

function publish(store: Store, channel: number, low: number, seq: number, text: string): void {
  const frame = encodePublish(channel, { high: 1, low }, seq, utf8(text));
  store.publish(new RelayLink([], gatherBuffer()), frame, 0, frame.length, 1);
}

/** The bytes of a one-segment journal of a few channels. */
function journal(channels: number, publications: number): Uint8Array {
  const store = newStore();
  must(store.start(), "the store does not start");
  for (let id = 1; id <= channels; id++) store.open(`channel-${id}`, POLICY, `epoch-${id}`, 0);
  for (let seq = 1; seq <= publications; seq++)
    publish(store, 1 + (seq % channels), seq % 3, seq, `"${"x".repeat(seq % 40)}"`);
  store.commit();
  return new Uint8Array(segments.bytes(0).subarray(0, segments.end));
}

const GOOD = [journal(1, 3), journal(3, 60), journal(2, 200)];

/** Recovers from files as a relay does, and continues to publish. */
function successorOf(files: readonly Uint8Array[], turnsTheRing: boolean): void {
  const store = newStore();
  const read = files.map((file, number) => {
    const bytes = segments.bytes(number);
    bytes.fill(0);
    bytes.set(file);
    segments.load(number, file.length);
    return { number, length: file.length };
  });
  const replaying = replay(store, read, {
    nowMs: 1,
    mayHaveLost: false,
    newEpoch: () => "renewed",
  });
  let step = replaying.next();
  while (step.done !== true) step = replaying.next();
  must(store.start(), "the store does not start");
  for (const channel of store.channels.values()) {
    for (let offset = channel.first; offset <= channel.top; offset++) {
      const place = channel.placeOf(offset);
      must(
        offsetAt(segments.bytes(segmentOf(place)), positionOf(place)) === offset,
        "a publication is not where it should be",
      );
    }
  }
  goOn(store);
  if (turnsTheRing) turnRing(store);
}

const LARGE = "x".repeat(1024 * 1024);

/** Publishes until every segment has been reused. */
function turnRing(store: Store): void {
  const channel = store.open("large", { size: 1, ttlMs: 1, bytes: 1 }, "e", 2);
  if (typeof channel === "string") throw new Error(`a new channel is refused: ${channel}`);
  const before = channel.top;
  for (let seq = 1; seq <= 4 * COUNT; seq++)
    publish(store, channel.id, 0x5eed_5eee, before + seq, LARGE);
  store.commit();
  must(channel.top === before + 4 * COUNT, "the ring of segments does not turn");
}

/** New channels and publications are accepted. */
function goOn(store: Store): void {
  const channel = store.open("after", POLICY, "e", 2);
  if (typeof channel === "string") throw new Error(`a new channel is refused: ${channel}`);
  const before = channel.top;
  publish(store, channel.id, 0x5eed_5eed, 1 + before, '"after"');
  store.commit();
  must(channel.top === before + 1, "a new publication is not taken");
  store.channels.freeUnused(3);
}

export const journals: Target = {
  name: "journals",
  share: 5,
  good: GOOD,
  take(input, random) {
    const file = input.subarray(0, Math.min(USED_BYTES, SEGMENT_BYTES));
    const kind = random.below(4);
    const turnsTheRing = random.below(80) === 0;
    const other = badInput(GOOD, random).subarray(0, USED_BYTES);
    if (kind === 0) successorOf([file, random.pick(GOOD)], turnsTheRing);
    else if (kind === 1) successorOf([random.pick(GOOD), other, file], turnsTheRing);
    else successorOf([file], turnsTheRing);
  },
};
