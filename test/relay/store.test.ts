import { describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import type { Channel } from "../../src/relay/channels/channel.ts";
import { BATCH_HEADER_BYTES } from "../../src/relay/journal/batch.ts";
import { positionOf, SEGMENT_BYTES, segmentOf } from "../../src/relay/journal/segments.ts";
import { gatherBuffer } from "../../src/relay/links/outbox.ts";
import { RelayLink } from "../../src/relay/links/relay-link.ts";
import type { Store } from "../../src/relay/store/store.ts";
import { encodePublish, offsetAt, payloadOf, setAfter, setOrder } from "../../src/wire/frame.ts";
import {
  OUTCOME_DUPLICATE,
  OUTCOME_ORDER,
  OUTCOME_STORAGE,
  OUTCOME_UNKNOWN_CHANNEL,
} from "../../src/wire/relay-messages.ts";
import { Died, MemoryDisk, storeOn } from "./memory-disk.ts";

setDefaultTimeout(60_000);

const POLICY = { size: 10, ttlMs: 60_000, bytes: 100_000_000 };
const encoder = new TextEncoder();
const gather = gatherBuffer();
const newLink = () => new RelayLink([], gather);

function open(store: Store, name = "news", policy = POLICY): Channel {
  const channel = store.open(name, policy, `epoch-of-${name}`, 0);
  if (typeof channel === "string") throw new Error(channel);
  return channel;
}

function publish(
  store: Store,
  channel: Channel,
  seq: number,
  text = String(seq),
  link = newLink(),
  nowMs = 0,
): RelayLink {
  const frame = encodePublish(channel.id, { high: 1, low: channel.id }, seq, encoder.encode(text));
  store.publish(link, frame, 0, frame.length, nowMs);
  return link;
}

/** The same, behind another of its publisher; `key`: known by that, and only placed by its seq. */
function publishAfter(
  store: Store,
  channel: Channel,
  seq: number,
  after: number,
  link: RelayLink,
  key?: number,
): RelayLink {
  const publisher = { high: 1, low: channel.id };
  const producer = key === undefined ? publisher : { high: 2, low: key };
  const frame = encodePublish(channel.id, producer, seq, encoder.encode(String(seq)));
  setOrder(frame, 0, publisher);
  setAfter(frame, 0, after);
  store.publish(link, frame, 0, frame.length, 0);
  return link;
}

/** What the channel remembers: [offset, the first characters of the payload]. */
function remembered(store: Store, channel: Channel): [number, string][] {
  return Array.from({ length: channel.remembered }, (_, i) => {
    const place = channel.placeOf(channel.first + i);
    const bytes = store.segments.bytes(segmentOf(place));
    const at = positionOf(place);
    const payload = payloadOf(bytes, at, at + channel.frameBytesOf(channel.first + i));
    return [offsetAt(bytes, at), new TextDecoder().decode(payload.subarray(0, 8)).trim()];
  });
}

describe("order and memory", () => {
  test("nobody sees a publication, nor its outcome, before it is journaled", () => {
    const disk = new MemoryDisk();
    const { store } = storeOn(disk, 8);
    const channel = open(store);
    const subscriber = newLink();
    channel.live.push(subscriber);
    const written = disk.files.get(0)?.length ?? 0;
    publish(store, channel, 1);
    expect(subscriber.outbox.bytes).toBe(0);
    expect(disk.files.get(0)?.length).toBe(written);
    store.commit();
    expect(subscriber.outbox.bytes).toBe(48 + 1);
    expect(disk.files.get(0)?.length).toBe(written + BATCH_HEADER_BYTES + 49);
  });

  test("the policy's size, bytes and ttl bound the history", () => {
    const { store } = storeOn(new MemoryDisk(), 8);
    const bySize = open(store, "size", { ...POLICY, size: 3 });
    const byBytes = open(store, "bytes", { ...POLICY, bytes: 2 * 49 });
    const byTime = open(store, "time", { ...POLICY, ttlMs: 100 });
    const none = open(store, "none", { ...POLICY, size: 0 });
    for (let seq = 1; seq <= 5; seq++)
      for (const channel of [bySize, byBytes, byTime, none])
        publish(store, channel, seq, String(seq), newLink(), seq * 50);
    store.commit();
    store.channels.expire(byTime, 300);
    expect([bySize.first, byBytes.first, byTime.first, none.first]).toEqual([3, 4, 5, 6]);
    expect([bySize.top, byBytes.top, byTime.top, none.top]).toEqual([5, 5, 5, 5]);
    expect(store.channels.historyBytes).toBe((3 + 2 + 1) * 49);
  });

  test("a repeat is answered with the original offset, in the same turn and later; trimmed, with 'duplicate'", () => {
    const { store } = storeOn(new MemoryDisk(), 8);
    const channel = open(store, "news", { ...POLICY, size: 2 });
    const link = newLink();
    publish(store, channel, 1, "a", link);
    publish(store, channel, 1, "a", link);
    store.commit();
    publish(store, channel, 1, "a", link);
    for (let seq = 2; seq <= 4; seq++) publish(store, channel, seq, "b", link);
    publish(store, channel, 1, "a", link);
    publish(store, channel, 4, "b", link);
    store.commit();
    expect(link.outcomes).toEqual([1, 1, 1, 2, 3, 4, OUTCOME_DUPLICATE, 4]);
    expect(channel.top).toBe(4);
  });

  test("an id that was never given is answered, not stored", () => {
    const { store } = storeOn(new MemoryDisk(), 8);
    const link = newLink();
    const frame = encodePublish(99, { high: 1, low: 1 }, 1, encoder.encode("x"));
    store.publish(link, frame, 0, frame.length, 0);
    expect(link.outcomes).toEqual([OUTCOME_UNKNOWN_CHANNEL]);
  });

  test("a full disk refuses what cannot be stored, shows it to nobody, and goes on when there is room", () => {
    const disk = new MemoryDisk();
    const { store } = storeOn(disk, 8);
    const channel = open(store);
    const subscriber = newLink();
    channel.live.push(subscriber);
    const link = publish(store, channel, 1);
    store.commit();
    disk.isFull = true;
    publish(store, channel, 2, "2", link);
    publish(store, channel, 3, "3", link);
    publish(store, channel, 2, "2", link);
    store.commit();
    expect(store.open("other", POLICY, "e", 0)).toBe("storage");
    expect(link.outcomes).toEqual([1, OUTCOME_STORAGE, OUTCOME_STORAGE, OUTCOME_STORAGE]);
    expect([channel.top, subscriber.outbox.bytes]).toEqual([1, 49]);
    disk.isFull = false;
    // What was on its way behind it would overtake its repeat; what has been stored already is a
    // repeat, and others are not concerned.
    publishAfter(store, channel, 4, 3, link);
    publishAfter(store, channel, 1, 0, link);
    publishAfter(store, open(store, "other"), 9, 0, link);
    publishAfter(store, channel, 2, 1, link);
    publishAfter(store, channel, 3, 2, link);
    store.commit();
    expect(link.outcomes.slice(4)).toEqual([OUTCOME_ORDER, 1, 1, 2, 3]);
    const successor = storeOn(disk, 8).store;
    expect(remembered(successor, open(successor))).toEqual([
      [1, "1"],
      [2, "2"],
      [3, "3"],
    ]);
  });

  test("a publication is taken only behind the one it names, whatever identifies either", () => {
    const disk = new MemoryDisk();
    const { store } = storeOn(disk, 8);
    const [channel, link] = [open(store), newLink()];
    publishAfter(store, channel, 2, 1, link);
    publishAfter(store, channel, 1, 0, link);
    publishAfter(store, channel, 2, 1, link);
    publishAfter(store, channel, 4, 3, link);
    publishAfter(store, channel, 3, 2, link, 77);
    publishAfter(store, channel, 4, 3, link);
    // Its key was published with before: it counts as taken here too, but only in its turn.
    publishAfter(store, channel, 6, 5, link, 77);
    publishAfter(store, channel, 7, 6, link);
    publishAfter(store, channel, 6, 4, link, 77);
    publishAfter(store, channel, 7, 6, link);
    store.commit();
    const order = OUTCOME_ORDER;
    expect(link.outcomes).toEqual([order, 1, 2, order, 3, 4, 3, order, 3, 5]);
    // A successor knows keys by themselves; nobody names what has been acknowledged.
    const successor = storeOn(disk, 8).store;
    const again = open(successor);
    publishAfter(successor, again, 3, 0, link, 77);
    publishAfter(successor, again, 4, 3, link);
    publishAfter(successor, again, 8, 0, link);
    successor.commit();
    expect(link.outcomes.slice(-3)).toEqual([3, 4, 6]);
  });

  test("what was staged and could not be stored is as if it had never come, far above the last seq too", () => {
    const disk = new MemoryDisk();
    const { store } = storeOn(disk, 8);
    const [channel, link] = [open(store), newLink()];
    publishAfter(store, channel, 1, 0, link);
    publishAfter(store, channel, 2, 1, link);
    store.commit();
    disk.isFull = true;
    for (let seq = 3; seq <= 1000; seq++) publishAfter(store, channel, seq, seq - 1, link, 5 + seq);
    publishAfter(store, channel, 5000, 1000, link);
    store.commit();
    disk.isFull = false;
    expect(new Set(link.outcomes.slice(2))).toEqual(new Set([OUTCOME_STORAGE]));
    link.outcomes.length = 0;
    publishAfter(store, channel, 5000, 1000, link);
    publishAfter(store, channel, 2, 1, link);
    publishAfter(store, channel, 3, 2, link, 8);
    publishAfter(store, channel, 5000, 3, link);
    store.commit();
    // What the first attempt trimmed from the history stays trimmed.
    expect(link.outcomes).toEqual([OUTCOME_ORDER, OUTCOME_DUPLICATE, 3, 4]);
  });

  test("a channel that nobody uses is freed once it remembers nothing", () => {
    const { store } = storeOn(new MemoryDisk(), 8);
    const channel = open(store, "news", { ...POLICY, ttlMs: 1000 });
    publish(store, channel, 1);
    store.channels.freeUnused(500);
    expect(store.channels.size).toBe(1);
    store.channels.freeUnused(2000);
    expect(store.channels.size).toBe(0);
    const link = publish(store, channel, 2);
    expect(link.outcomes).toEqual([OUTCOME_UNKNOWN_CHANNEL]);
  });
});

test("sweeps take their turns, and each channel is freed when it has been unused for ten minutes", () => {
  const { store } = storeOn(new MemoryDisk(), 8);
  for (let n = 0; n < 25; n++) open(store, `room:${n}`);
  const sizes = (nowMs: number) =>
    Array.from({ length: 10 }, () => {
      store.sweep(nowMs);
      return store.channels.size;
    });
  expect(sizes(599_000).at(-1)).toBe(25);
  expect(sizes(601_000)).toEqual([22, 19, 17, 15, 13, 11, 9, 8, 7, 6]);
  expect(sizes(601_000).at(-1)).toBe(0);
  open(store, "new");
  expect(sizes(1_300_000).at(-1)).toBe(0);
});

describe("as many channels as there may be", () => {
  const full = (nowMs: number) => {
    const { store } = storeOn(new MemoryDisk(), 8);
    while (store.channels.size < store.channelsMax)
      publish(store, open(store, `room:${store.channels.size}`), 1, "x", newLink(), nowMs);
    return store;
  };

  test("one that is not used makes room for a new one, after a minute though it has history", () => {
    const store = full(1000);
    expect(store.open("new", POLICY, "e", 2000)).toBe("limit");
    expect(store.channels.historyBytes).toBe(49 * store.channelsMax);
    const later = store.open("new", { ...POLICY }, "e", 61_000);
    expect(typeof later).toBe("object");
    expect(store.channels.historyBytes).toBeLessThan(49 * store.channelsMax);
  });

  test("one that a link has open never does", () => {
    const store = full(0);
    for (const channel of store.channels.values()) store.channels.opened(channel, 0);
    expect(store.open("new", POLICY, "e", 59_000)).toBe("limit");
    const [first] = store.channels.values();
    store.channels.released(first);
    expect(typeof store.open("new", POLICY, "e", 120_000)).toBe("object");
    expect(store.channels.get(first.name)).toBeUndefined();
  });
});

describe("the ring of segments", () => {
  const big = (text: string) => text.padEnd(400_000, " ");

  test("what a policy still wants is copied forward when its segment comes round; the files go", () => {
    const disk = new MemoryDisk();
    const { store, freed } = storeOn(disk, 10);
    const quiet = open(store, "quiet");
    for (let seq = 1; seq <= 3; seq++) publish(store, quiet, seq, `q${seq}`);
    const busy = open(store, "busy", { ...POLICY, size: 2 });
    for (let seq = 1; seq <= 200; seq++) publish(store, busy, seq, big(`b${seq}`));
    store.commit();
    expect(freed.length).toBeGreaterThan(5);
    expect(disk.files.size).toBeLessThanOrEqual(10);
    const expected: [number, string][] = [
      [1, "q1"],
      [2, "q2"],
      [3, "q3"],
    ];
    expect(remembered(store, quiet)).toEqual(expected);
    const { store: successor, damages } = storeOn(disk, 10);
    expect(damages).toEqual([]);
    const again = open(successor, "quiet");
    expect([again.epoch, again.top, remembered(successor, again)]).toEqual([
      "epoch-of-quiet",
      3,
      expected,
    ]);
    expect(remembered(successor, open(successor, "busy")).map(([offset]) => offset)).toEqual([
      199, 200,
    ]);
  });

  test("a channel whose publications are all trimmed keeps its epoch, id and top", () => {
    const disk = new MemoryDisk();
    const { store } = storeOn(disk, 10);
    const gone = open(store, "gone", { ...POLICY, size: 0 });
    for (let seq = 1; seq <= 7; seq++) publish(store, gone, seq);
    const busy = open(store, "busy", { ...POLICY, size: 0 });
    for (let seq = 1; seq <= 200; seq++) publish(store, busy, seq, big(""));
    store.commit();
    const successor = storeOn(disk, 10).store;
    const again = open(successor, "gone", { ...POLICY, size: 0 });
    expect([again.id, again.epoch, again.top]).toEqual([gone.id, "epoch-of-gone", 7]);
  });

  test("a producer is remembered after the segment with its publication has gone, by a successor too", () => {
    const disk = new MemoryDisk();
    const { store } = storeOn(disk, 10);
    const channel = open(store, "news", { ...POLICY, size: 0 });
    for (let seq = 1; seq <= 5; seq++) publish(store, channel, seq);
    const busy = open(store, "busy", { ...POLICY, size: 0 });
    for (let seq = 1; seq <= 300; seq++) publish(store, busy, seq, big(""));
    store.commit();
    for (const each of [store, storeOn(disk, 10).store, storeOn(disk, 10).store])
      for (let seq = 1; seq <= 5; seq++)
        expect(publish(each, open(each, "news", { ...POLICY, size: 0 }), seq).outcomes).toEqual([
          OUTCOME_DUPLICATE,
        ]);
  });

  test("more than the memory holds: the oldest is evicted and the channel says so", () => {
    const { store } = storeOn(new MemoryDisk(), 10);
    const greedy = open(store, "greedy", { ...POLICY, size: 10_000 });
    for (let seq = 1; seq <= 300; seq++) publish(store, greedy, seq, big(`g${seq}`));
    store.commit();
    expect(greedy.first).toBeGreaterThan(200);
    expect(greedy.trimmed).toBe("evicted");
    expect(store.channels.historyBytes).toBeLessThanOrEqual(
      (10 * SEGMENT_BYTES) / 2 + 2 * SEGMENT_BYTES,
    );
    const offsets = Array.from({ length: greedy.remembered }, (_, i) => greedy.first + i);
    expect(remembered(store, greedy)).toEqual(offsets.map((offset) => [offset, `g${offset}`]));
  });

  for (const bytes of [100, 60_000, 1_000_000])
    test(`the smallest relay goes on when history wants all there is, with publications of ${bytes} bytes`, () => {
      const disk = new MemoryDisk();
      const { store } = storeOn(disk, 8);
      const greedy = open(store, "greedy", { size: 1_000_000, ttlMs: 60_000, bytes: 1e12 });
      const count = Math.ceil((12 * SEGMENT_BYTES) / (bytes + 48));
      for (let seq = 1; seq <= count; seq++)
        expect(publish(store, greedy, seq, String(seq).padEnd(bytes, " ")).outcomes).toEqual([seq]);
      store.commit();
      expect(greedy.remembered).toBeGreaterThan(0);
      expect(remembered(store, greedy).at(-1)?.[0]).toBe(count);
      expect(disk.files.size).toBeLessThan(8);
      expect(open(storeOn(disk, 8).store, "greedy", greedy.policy).top).toBe(count);
    });

  test("the smallest relay goes on when it knows as many channels and producers as it may", () => {
    const disk = new MemoryDisk();
    const { store } = storeOn(disk, 8);
    const policy = { size: 1_000_000, ttlMs: 60_000, bytes: 1e12 };
    const held = Array.from({ length: store.channelsMax }, (_, i) => {
      const channel = store.open(`${"long-".repeat(38)}${i}`, policy, "e", 0);
      if (typeof channel === "string") throw new Error(channel);
      store.channels.opened(channel, 0);
      return channel;
    });
    for (let n = 1; n <= 70_000; n++) {
      const link = newLink();
      const frame = encodePublish(
        held[n % held.length].id,
        { high: n, low: n },
        1,
        encoder.encode("x".repeat(200)),
      );
      store.publish(link, frame, 0, frame.length, 0);
      expect(link.outcomes[0]).toBeGreaterThan(0);
    }
    store.commit();
    expect(store.open("one more", policy, "e", 0)).toBe("limit");
  });

  test("channels that come and go, and are never published to, do not fill the journal", () => {
    const disk = new MemoryDisk();
    const { store } = storeOn(disk, 8);
    for (let n = 0; n < 450_000; n++) open(store, `of-nobody-${n}`);
    expect(disk.files.size).toBeLessThan(8);
    expect(publish(store, open(store, "after"), 1).outcomes).toEqual([1]);
  });

  test("a disk that fails while a segment is emptied loses nothing", () => {
    const disk = new MemoryDisk();
    const { store } = storeOn(disk, 10);
    const quiet = open(store, "quiet");
    for (let seq = 1; seq <= 3; seq++) publish(store, quiet, seq, `q${seq}`);
    const busy = open(store, "busy", { ...POLICY, size: 0 });
    let acknowledged = 0;
    for (let seq = 1; seq <= 400; seq++) {
      disk.isFull = seq % 7 > 3;
      const link = publish(store, busy, seq, big(""));
      store.commit();
      if ((link.outcomes.at(-1) ?? -1) > 0) acknowledged++;
    }
    expect(acknowledged).toBe(busy.top);
    expect(remembered(store, quiet).map(([, text]) => text)).toEqual(["q1", "q2", "q3"]);
    disk.isFull = false;
    const successor = storeOn(disk, 10).store;
    expect(open(successor, "busy", { ...POLICY, size: 0 }).top).toBe(acknowledged);
    expect(remembered(successor, open(successor, "quiet")).map(([, text]) => text)).toEqual([
      "q1",
      "q2",
      "q3",
    ]);
  });
});

describe("a successor", () => {
  test("R17: a torn last record is cut off; what was acknowledged stands, whatever the byte at which the write ended", () => {
    for (let bytes = 0; bytes <= 120; bytes += 3) {
      const disk = new MemoryDisk();
      const { store } = storeOn(disk, 8);
      const channel = open(store);
      publish(store, channel, 1);
      store.commit();
      publish(store, channel, 2);
      publish(store, channel, 3);
      disk.diesAfter = bytes;
      expect(() => store.commit()).toThrow(Died);
      disk.diesAfter = undefined;
      const { store: successor, damages } = storeOn(disk, 8);
      const again = open(successor);
      expect([damages, again.epoch]).toEqual([[], "epoch-of-news"]);
      const whole = bytes >= BATCH_HEADER_BYTES + 2 * 49 ? 3 : 1;
      expect(remembered(successor, again).map(([offset]) => offset)).toEqual(
        [1, 2, 3].slice(0, whole),
      );
      const link = publish(successor, again, 2);
      publish(successor, again, 3, "3", link);
      successor.commit();
      expect(link.outcomes).toEqual([2, 3]);
    }
  });

  test("a machine that lost power begins a new epoch", () => {
    const disk = new MemoryDisk();
    const { store } = storeOn(disk, 8);
    publish(store, open(store), 1);
    store.commit();
    expect(open(storeOn(disk, 8, { mayHaveLost: true }).store).epoch).toBe("renewed");
  });

  /**
   * A journal in which each publication is a batch of its own: "steady" gets every other one, "news"
   * only the first three. Returns where each batch begins in the only segment.
   */
  function journalOfBatches(): { disk: MemoryDisk; file: Uint8Array; batches: number[] } {
    const disk = new MemoryDisk();
    const { store } = storeOn(disk, 8);
    const [news, steady] = [open(store, "news"), open(store, "steady")];
    const batches: number[] = [];
    for (let seq = 1; seq <= 5; seq++)
      for (const channel of seq <= 3 ? [news, steady] : [steady]) {
        batches.push(store.segments.end);
        publish(store, channel, seq);
        store.commit();
      }
    const file = disk.files.get(0);
    if (file === undefined) throw new Error("no file");
    return { disk, file: file.bytes, batches };
  }

  test("a flipped bit costs the batch that it is in, wherever it is", () => {
    for (let bit = 0; bit < 8 * (BATCH_HEADER_BYTES + 49); bit += 5) {
      const { disk, file, batches } = journalOfBatches();
      const [, , , thirdOfSteady] = batches;
      file[thirdOfSteady + (bit >>> 3)] ^= 1 << (bit & 7);
      const { store, damages } = storeOn(disk, 8);
      const bytes = BATCH_HEADER_BYTES + 49;
      expect(damages).toEqual([{ segment: 0, at: thirdOfSteady, bytes }]);
      const [news, steady] = [open(store, "news"), open(store, "steady")];
      // Both have later publications, which prove that no newer one is missing.
      expect([news.epoch, steady.epoch]).toEqual(["epoch-of-news", "epoch-of-steady"]);
      expect(remembered(store, news)).toEqual([
        [1, "1"],
        [2, "2"],
        [3, "3"],
      ]);
      expect([steady.first, steady.top, steady.trimmed]).toEqual([3, 5, "evicted"]);
    }
  });

  test("a channel whose newest publication may be damaged begins a new epoch, and stays in it", () => {
    const { disk, file, batches } = journalOfBatches();
    const [, , , , thirdOfNews] = batches;
    file[thirdOfNews + BATCH_HEADER_BYTES + 45] ^= 1;
    for (let start = 1; start <= 2; start++) {
      const { store, damages, renewed } = storeOn(disk, 8);
      expect(damages.length).toBe(1);
      expect(renewed.map(({ name }) => name)).toEqual(start === 1 ? ["news"] : []);
      expect(renewed.every((channel) => store.define(channel))).toBe(true);
      const [news, steady] = [open(store, "news"), open(store, "steady")];
      expect([news.epoch, news.top]).toEqual(["renewed", 2]);
      expect([steady.epoch, steady.top]).toEqual(["epoch-of-steady", 5]);
    }
  });

  test("a copy that was made to free a segment does not prove what is the newest", () => {
    const disk = new MemoryDisk();
    const { store } = storeOn(disk, 10);
    const quiet = open(store, "quiet");
    publish(store, quiet, 1);
    store.commit();
    const busy = open(store, "busy", { ...POLICY, size: 0 });
    const turn = (until: number) => {
      for (; store.segments.head < until; ) publish(store, busy, busy.top + 1, " ".repeat(400_000));
      store.commit();
    };
    turn(1);
    // A new definition, so that the first segment holds nothing of it but the publication.
    open(store, "quiet", { ...POLICY, size: 11 });
    turn(3);
    const [segment, at] = [store.segments.head, store.segments.end];
    publish(store, quiet, 2);
    store.commit();
    turn(6);
    expect(store.segments.oldest).toBe(1);
    const file = disk.files.get(segment);
    if (file === undefined) throw new Error("no file");
    file.bytes[at + BATCH_HEADER_BYTES + 44] ^= 1;
    const { store: successor, damages } = storeOn(disk, 10);
    expect(damages.length).toBe(1);
    expect(open(successor, "quiet").epoch).toBe("renewed");
    expect(open(successor, "busy", { ...POLICY, size: 0 }).epoch).toBe("epoch-of-busy");
  });

  test("the ring turns over segments that were damaged, and a successor finds the rest in order", () => {
    const disk = new MemoryDisk();
    const { store } = storeOn(disk, 9);
    const channel = open(store);
    for (let seq = 1; store.segments.head < 3; seq++) {
      publish(store, channel, seq, "x".repeat(500_000));
      store.commit();
    }
    const file = disk.files.get(1);
    if (file === undefined) throw new Error("no file");
    file.bytes[1_000_000] ^= 1;
    const { store: successor, damages } = storeOn(disk, 9);
    expect(damages.length).toBe(1);
    const other = open(successor, "other");
    for (let seq = 1; successor.segments.oldest < 4; seq++)
      publish(successor, other, seq, "x".repeat(500_000));
    successor.commit();
    expect(storeOn(disk, 9).damages).toEqual([]);
  });

  test("an id is never given twice: not when only publications tell of it, nor after damage", () => {
    const disk = new MemoryDisk();
    const { store } = storeOn(disk, 8);
    const lobby = open(store, "lobby", { ...POLICY, ttlMs: 1000 });
    publish(store, lobby, 1);
    store.commit();
    const highest = lobby.id;
    // The channel is freed; its publication is still in the journal.
    store.channels.freeUnused(2000);
    expect(store.channels.size).toBe(0);
    const file = disk.files.get(0);
    if (file === undefined) throw new Error("no file");
    const next = open(storeOn(disk, 8).store, "payroll").id;
    expect(next).toBeGreaterThan(highest);
    file.bytes[BATCH_HEADER_BYTES + 40] ^= 1;
    const afterDamage = storeOn(disk, 8);
    expect(afterDamage.damages.length).toBe(1);
    expect(open(afterDamage.store, "stock").id).toBeGreaterThan(next + 1);
  });

  test("a ring that was larger shrinks to what is wanted", () => {
    const disk = new MemoryDisk();
    const large = storeOn(disk, 20).store;
    const busy = open(large, "busy", { ...POLICY, size: 0 });
    for (let seq = 1; disk.files.size < 14; seq++) publish(large, busy, seq, " ".repeat(400_000));
    large.commit();
    for (let restart = 0; restart < 5; restart++) {
      const { store } = storeOn(disk, 8);
      const again = open(store, "busy", { ...POLICY, size: 0 });
      const { head } = store.segments;
      while (store.segments.head < head + 2)
        publish(store, again, again.top + 1, " ".repeat(400_000));
      store.commit();
      expect(disk.files.size).toBeLessThan(8);
    }
  });

  test("model: after any publications, repeats, full disks and deaths, each channel is what the model says", () => {
    const step = fc.oneof(
      {
        weight: 8,
        arbitrary: fc.record({
          kind: fc.constant("publish"),
          channel: fc.nat(3),
          bytes: fc.nat(300_000),
        }),
      },
      {
        weight: 2,
        arbitrary: fc.record({ kind: fc.constant("repeat"), channel: fc.nat(3), bytes: fc.nat(5) }),
      },
      {
        weight: 1,
        arbitrary: fc.record({
          kind: fc.constantFrom("die", "full", "room"),
          channel: fc.nat(3),
          bytes: fc.nat(9),
        }),
      },
    );
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 250 }), (steps) => {
        const disk = new MemoryDisk();
        let { store } = storeOn(disk, 9);
        /** Per channel: the seq of each acknowledged publication, by offset − 1. */
        const model: number[][] = [[], [], [], []];
        const seqs = [0, 0, 0, 0];
        const openings = () => model.map((_, i) => open(store, `c${i}`));
        let channels = openings();
        const check = () => {
          channels.forEach((channel, i) => {
            expect(channel.top).toBe(model[i].length);
            const expected = model[i]
              .map((seq, at) => [at + 1, String(seq)])
              .slice(channel.first - 1);
            expect(remembered(store, channel)).toEqual(expected as [number, string][]);
            expect(channel.remembered).toBe(Math.min(model[i].length, POLICY.size));
          });
        };
        for (const { kind, channel, bytes } of steps) {
          if (kind === "full" || kind === "room") disk.isFull = kind === "full";
          else if (kind === "die") {
            disk.isFull = false;
            ({ store } = storeOn(disk, 9));
            channels = openings();
            check();
          } else {
            const seq = kind === "publish" ? ++seqs[channel] : Math.max(1, seqs[channel] - bytes);
            seqs[channel] = Math.max(seq, seqs[channel]);
            const link = publish(
              store,
              channels[channel],
              seq,
              String(seq).padEnd(kind === "publish" ? bytes : 1, " "),
            );
            store.commit();
            const known = model[channel].indexOf(seq) + 1;
            const [outcome] = link.outcomes;
            if (known > 0) expect([known, OUTCOME_DUPLICATE, OUTCOME_STORAGE]).toContain(outcome);
            else if (outcome !== OUTCOME_STORAGE) expect(model[channel].push(seq)).toBe(outcome);
          }
        }
        check();
      }),
      { numRuns: 25 },
    );
  }, 60_000);
});

test("a full disk is no place for new epochs: that they are not all journaled is told", () => {
  const disk = new MemoryDisk();
  const { store } = storeOn(disk, 8);
  for (const name of ["a", "b"])
    store.open(name, { size: 10, ttlMs: 60_000, bytes: 1000 }, "old", 0);
  const { store: successor, renewed } = storeOn(disk, 8, { mayHaveLost: true });
  disk.isFull = true;
  expect(renewed.length).toBe(2);
  expect(renewed.every((channel) => successor.define(channel))).toBe(false);
  disk.isFull = false;
  expect(renewed.every((channel) => successor.define(channel))).toBe(true);
  const { store: third } = storeOn(disk, 8);
  expect([...third.channels.values()].map(({ epoch }) => epoch)).toEqual(["renewed", "renewed"]);
});

test("a channel that could not be opened on a full disk leaves its id to the next, and nothing in the journal", () => {
  const disk = new MemoryDisk();
  const { store } = storeOn(disk, 8);
  disk.isFull = true;
  for (const name of ["refused", "refused too"])
    expect(store.open(name, POLICY, "none", 0)).toBe("storage");
  disk.isFull = false;
  const channel = open(store, "news");
  publish(store, channel, 1);
  store.commit();
  const { store: successor } = storeOn(disk, 8);
  expect([...successor.channels.values()].map(({ name }) => name)).toEqual(["news"]);
  expect(open(successor, "news").epoch).toBe(channel.epoch);
  expect(remembered(successor, open(successor, "news"))).toEqual([[1, "1"]]);
});
