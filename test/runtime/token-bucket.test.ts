// The token bucket's rate.

import { expect, test } from "bun:test";
import { TokenBucket } from "../../src/runtime/token-bucket.ts";

test("a token bucket lets its rate through, and one second's worth at once", () => {
  const bucket = new TokenBucket(10, 0);
  const taken = (nowMs: number) => {
    let count = 0;
    while (bucket.take(nowMs)) count++;
    return count;
  };
  expect([taken(0), taken(100), taken(150), taken(200), taken(100_000)]).toEqual([10, 1, 0, 1, 10]);
  // The clock is set back.
  expect([taken(50_000), taken(50_100)]).toEqual([0, 1]);
});

test("what costs more than is there is earned afterwards", () => {
  const bucket = new TokenBucket(10, 0);
  expect([bucket.take(0, 25), bucket.take(1000), bucket.take(1500)]).toEqual([true, false, false]);
  expect(bucket.take(1600)).toBe(true);
  bucket.charge(20);
  const other = new TokenBucket(10, 1600);
  other.lowerTo(bucket);
  expect([other.isEmpty(3600), other.isEmpty(3700)]).toEqual([true, false]);
});
