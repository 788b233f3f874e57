// A node's history cache against a list of everything that was published.

import { expect, test } from "bun:test";
import fc from "fast-check";
import { HistoryCache } from "../../src/node/channels/history-cache.ts";
import type { Policy } from "../../src/wire/relay-messages.ts";

const EPOCH = "e1";
const POLICY = { size: 1000, ttlMs: 1000, bytes: 1_000_000 };
/** Characters of a message around its data, here with offsets and times of one digit. */
const HEAD_SIZE = '{"type":"message","channel":"c","offset":1,"time":0,"data":}'.length;

/** A cache that is followed from offset 0, and its reported size. */
function cacheOf(policy: Policy) {
  const sizes = { total: 0 };
  const cache = new HistoryCache('"c"', policy, (change) => {
    sizes.total += change;
  });
  cache.restart({ epoch: EPOCH, offset: 0 });
  const covers = (offset: number, nowMs = 0) =>
    cache.find({ epoch: EPOCH, offset }, nowMs) === offset;
  return { cache, sizes, covers };
}

const dataOf = (json: string): number => JSON.parse(json).data;
const read = (cache: HistoryCache, offset: number) => {
  const got: number[] = [];
  const upTo = cache.read(offset, (json) => got.push(dataOf(json)) > 0);
  return { got, upTo };
};

/** What may happen to a cache. */
const events = fc.array(
  fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        type: fc.constant("append" as const),
        step: fc.integer({ min: 1, max: 3 }),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        type: fc.constant("page" as const),
        back: fc.nat(20),
        count: fc.nat(10),
      }),
    },
    { weight: 1, arbitrary: fc.constant({ type: "shrink" as const }) },
    { weight: 1, arbitrary: fc.record({ type: fc.constant("expire" as const), age: fc.nat(20) }) },
    { weight: 1, arbitrary: fc.constant({ type: "restart" as const }) },
  ),
  { maxLength: 80 },
);

test("a reader that is covered gets everything that follows, in order, up to where it says", () => {
  fc.assert(
    fc.property(events, fc.integer({ min: 0, max: 12 }), (happened, size) => {
      const { cache, covers } = cacheOf({ ...POLICY, size, ttlMs: 0 });
      let all: number[] = [];
      let top = 0;
      let nowMs = 0;
      for (const event of happened) {
        if (event.type === "append") {
          top += event.step;
          all.push(top);
          cache.append(top, top, String(top));
        } else if (event.type === "page") {
          // As the relay answers: what follows some offset, as far as the page goes.
          const after = Math.max(0, top - event.back);
          const offsets = all.filter((offset) => offset > after).slice(0, event.count);
          cache.keepPage(
            { since: { epoch: EPOCH, offset: after }, limit: event.count, reverse: false },
            {
              readable: { epoch: EPOCH, first: 1, top, trimmed: "expired" },
              gap: null,
              offsets,
              timesMs: offsets,
              payloads: offsets.map(String),
            },
          );
        } else if (event.type === "shrink") cache.shrink();
        else if (event.type === "expire") nowMs = top - event.age;
        else {
          top += 5;
          all = [];
          cache.restart({ epoch: EPOCH, offset: top });
        }
        expect(cache.top).toBe(top);
        for (let offset = Math.max(0, top - 25); offset <= top + 1; offset++) {
          if (!covers(offset, nowMs)) continue;
          const { got, upTo } = read(cache, offset);
          expect(got).toEqual(all.filter((each) => each > offset && each <= upTo));
          expect(upTo > offset || offset === top).toBe(true);
        }
        expect(covers(top, nowMs)).toBe(true);
        const newest = cache.find(3, nowMs);
        if (newest !== undefined) expect(read(cache, newest).got).toEqual(all.slice(-3));
      }
    }),
    { numRuns: 300 },
  );
});

test("it stays within the policy and its own bounds, and reports its size", () => {
  const five = cacheOf({ ...POLICY, size: 5 });
  for (let offset = 1; offset <= 2000; offset++) five.cache.append(offset, 0, "12345");
  expect(five.sizes.total).toBe(5 * (HEAD_SIZE + "2000".length - 1 + "12345".length));
  expect(five.covers(1994)).toBe(false);
  expect(five.covers(1995)).toBe(true);
  five.cache.close();
  expect(five.sizes.total).toBe(0);
  const big = cacheOf({ ...POLICY, size: 1_000_000, bytes: 1e9 });
  for (let offset = 1; offset <= 5000; offset++) big.cache.append(offset, 0, "1".repeat(1000));
  expect(big.sizes.total).toBeLessThanOrEqual(1024 * 1024);
  const none = cacheOf({ ...POLICY, size: 0 });
  none.cache.append(1, 0, "1");
  expect(none.sizes.total).toBe(0);
  expect([none.covers(0), none.covers(1)]).toEqual([false, true]);
});

test("a reader that has enough stops, and goes on from there", () => {
  const { cache } = cacheOf(POLICY);
  for (let offset = 1; offset <= 10; offset++) cache.append(offset, 0, String(offset));
  const got: number[] = [];
  expect(cache.read(0, (json) => got.push(dataOf(json)) < 3)).toBe(3);
  expect(cache.read(3, (json) => got.push(dataOf(json)) < 100)).toBe(10);
  expect(got).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
});
