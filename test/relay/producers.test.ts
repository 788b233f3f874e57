// What a relay remembers of producers: who makes room for whom, and what is known of the forgotten.

import { describe, expect, test } from "bun:test";
import { Producers, SNAPSHOT_BYTES } from "../../src/relay/channels/producers.ts";
import { gatherBuffer } from "../../src/relay/links/outbox.ts";
import { RelayLink } from "../../src/relay/links/relay-link.ts";
import type { Store } from "../../src/relay/store/store.ts";
import { encodePublish, OWNERS, setAge } from "../../src/wire/frame.ts";
import { OUTCOME_UNKNOWN } from "../../src/wire/relay-messages.ts";
import { MemoryDisk, storeOn } from "./memory-disk.ts";

const SLOTS = 1 << 10;
const ROOM = SLOTS * 0.75;
const POLICY = { size: 10, ttlMs: 60_000, bytes: 1_000_000 };

/** Producers with a high half that says whose they are. */
const highOf = (owner: number, n: number) => n * OWNERS + owner;

describe("when the memory is full", () => {
  test("one owner's flood makes room for itself, not from others", () => {
    const producers = new Producers(SLOTS);
    for (let n = 0; n < 200; n++) producers.record(highOf(1 + (n % 50), n), 7, 1, 1000);
    for (let n = 0; n < 20_000; n++) producers.record(highOf(99, n), 8, 1, 2_000_000);
    for (let n = 0; n < 200; n++) expect(producers.has(highOf(1 + (n % 50), n), 7, 1)).toBe(true);
    expect(producers.count).toBeLessThanOrEqual(ROOM);
    expect(producers.mayHaveForgotten(highOf(99, 1), 2_000_000)).toBe(true);
    expect(producers.mayHaveForgotten(highOf(1, 1), 0)).toBe(false);
  });

  test("among equals the one not heard for longest makes room, about", () => {
    const producers = new Producers(SLOTS);
    for (let n = 0; n < ROOM; n++) producers.record(highOf(n % 256, n), 7, 1, n * 1000);
    for (let n = ROOM; n < ROOM + 256; n++) producers.record(highOf(n % 256, n), 7, 1, n * 1000);
    const known = Array.from({ length: ROOM }, (_, n) => producers.isKnown(highOf(n % 256, n), 7));
    const youngest = known.slice(ROOM / 2).filter((isKnown) => !isKnown);
    expect(known.filter((isKnown) => !isKnown)).toHaveLength(256);
    expect(youngest.length).toBeLessThan(10);
  });

  test("a snapshot says when a producer was heard, and what is forgotten is said too", () => {
    const producers = new Producers(SLOTS);
    for (let n = 0; n <= ROOM; n++) producers.record(highOf(5, n), 7, 3, 60_000 + n);
    const snapshot = Buffer.alloc(SNAPSHOT_BYTES);
    expect(producers.snapshot(highOf(5, ROOM), 7, 3, 1, snapshot, 0)).toBe(true);
    const successor = new Producers(SLOTS);
    successor.restore(snapshot, 0);
    successor.restoreForgotten(producers.forgotten());
    expect(successor.has(highOf(5, ROOM), 7, 3)).toBe(true);
    expect(successor.mayHaveForgotten(highOf(5, 1), 60_000)).toBe(true);
    expect(successor.mayHaveForgotten(highOf(5, 1), 100_000)).toBe(false);
    expect(successor.mayHaveForgotten(highOf(6, 1), 60_000)).toBe(false);
  });
});

describe("a repeat", () => {
  const newLink = () => new RelayLink([], gatherBuffer());

  function publish(store: Store, producer: number, ageMs: number, nowMs: number, seq = 1) {
    const channel = store.open("pay", POLICY, "epoch", nowMs);
    if (typeof channel === "string") throw new Error(channel);
    const link = newLink();
    const text = new TextEncoder().encode(`"${"x".repeat(100)}"`);
    const frame = encodePublish(channel.id, { high: highOf(9, producer), low: 1 }, seq, text);
    setAge(frame, 0, ageMs);
    store.publish(link, frame, 0, frame.length, nowMs);
    store.commit();
    return link.outcomes[0];
  }

  test("of a producer that may be forgotten is not taken again, also by a successor", () => {
    const disk = new MemoryDisk();
    let { store } = storeOn(disk, 8, { nowMs: 1_000_000 });
    expect(publish(store, 0, 0, 1_000_000)).toBe(1);
    // As many as there is room for, and then more, some minutes later; all of them one owner's.
    let top = 1;
    for (let n = 1; store.producers.isKnown(highOf(9, 0), 1); n++)
      expect(publish(store, n, 0, 1_300_000)).toBe(++top);
    const nowMs = 1_400_000;
    const judge = () => {
      expect(publish(store, 0, 400_000, nowMs)).toBe(OUTCOME_UNKNOWN);
      expect(publish(store, 0, 395_000, nowMs)).toBe(OUTCOME_UNKNOWN);
    };
    judge();
    ({ store } = storeOn(disk, 8, { nowMs }));
    judge();
    // It was first sent after all that is forgotten was heard.
    expect(publish(store, 0, 50_000, nowMs)).toBe(top + 1);
    // Sent for the first time.
    expect(publish(store, 1_000_000, 0, nowMs)).toBe(top + 2);
  });

  test("of an unknown producer is taken where nothing is forgotten", () => {
    const { store } = storeOn(new MemoryDisk(), 8);
    expect(publish(store, 3, 60_000, 100_000)).toBe(1);
    expect(publish(store, 3, 60_000, 100_000)).toBe(1);
  });

  test("is not taken again either where a part of the journal is damaged", () => {
    const disk = new MemoryDisk();
    const { store } = storeOn(disk, 8, { nowMs: 1000 });
    expect(publish(store, 3, 0, 1000)).toBe(1);
    expect(publish(store, 4, 0, 1000)).toBe(2);
    const [file] = disk.files.values();
    const at = Buffer.from(file.bytes.buffer, 0, file.length).indexOf("xxxx");
    file.bytes[at] ^= 1;
    const { store: successor, damages } = storeOn(disk, 8, { nowMs: 5000 });
    expect(damages).toHaveLength(1);
    expect(publish(successor, 3, 4000, 5000)).toBe(OUTCOME_UNKNOWN);
    expect(publish(successor, 4, 4000, 5000)).toBe(2);
  });
});
