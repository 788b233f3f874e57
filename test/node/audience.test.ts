import { expect, test } from "bun:test";
import { Batcher } from "../../src/node/channels/batcher.ts";

const reader = () => {
  const topics = new Set<string>();
  return {
    encoding: "json",
    topics,
    join: (topic: string) => topics.add(topic),
    leave: (topic: string) => topics.delete(topic),
  } as const;
};

function audienceOf(readers: number, batchMs = 50): Batcher {
  const audience = new Batcher("news", batchMs);
  for (let n = 0; n < readers; n++) audience.join(reader());
  return audience;
}

test("the first publication goes at once, the next waits as many ms as there are readers", () => {
  const audience = audienceOf(20);
  audience.add("1");
  expect(audience.isDue(1000)).toBe(true);
  expect(audience.take(1000)).toEqual(["1"]);
  audience.add("2");
  audience.add("3");
  expect(audience.isDue(1019)).toBe(false);
  expect(audience.isDue(1020)).toBe(true);
  expect(audience.take(1020)).toEqual(["2", "3"]);
  expect(audience.take(1020)).toEqual([]);
});

test("what comes in the same millisecond goes out with it", () => {
  const audience = audienceOf(20);
  audience.add("1");
  audience.take(1000);
  audience.add("2");
  expect(audience.isDue(1000)).toBe(true);
});

test("nothing waits longer than the limit, nor at all where that is 0", () => {
  const many = audienceOf(500);
  many.add("1");
  many.take(1000);
  many.add("2");
  expect(many.isDue(1049)).toBe(false);
  expect(many.isDue(1050)).toBe(true);
  const never = audienceOf(500, 0);
  never.add("1");
  never.take(1000);
  expect(never.isDue(1000.5)).toBe(true);
});

test("a channel that speaks once in a rest does not wait, even if it was told late", () => {
  const audience = audienceOf(500);
  audience.add("1");
  audience.take(1000);
  for (const [madeMs, toldMs] of [
    [1050, 1055],
    [1100, 1104],
    [1150, 1151],
  ]) {
    audience.add("next");
    expect(audience.isDue(madeMs)).toBe(true);
    audience.take(toldMs);
  }
  audience.add("too soon");
  expect(audience.isDue(1199)).toBe(false);
});

test("a quiet channel's publication does not wait", () => {
  const audience = audienceOf(500);
  audience.add("1");
  audience.take(1000);
  audience.add("2");
  expect(audience.isDue(1060)).toBe(true);
});

test("much that waits goes out before its time", () => {
  const audience = audienceOf(500);
  audience.take(1000);
  audience.add("1");
  audience.take(1000);
  audience.add("x".repeat(60 * 1024));
  expect(audience.isDue(1001)).toBe(false);
  audience.add("x".repeat(8 * 1024));
  expect(audience.isDue(1001)).toBe(true);
});

test("a clock that is set back holds nobody up", () => {
  const audience = audienceOf(500);
  audience.add("1");
  audience.take(1_000_000);
  audience.add("2");
  expect(audience.isDue(1_000_001)).toBe(false);
  expect(audience.isDue(400_000)).toBe(true);
});

test("without readers nothing is kept", () => {
  const audience = new Batcher("news", 50);
  audience.add("1");
  expect(audience.take(1000)).toEqual([]);
  const only = reader();
  audience.join(only);
  expect(only.topics).toEqual(new Set(["j news"]));
  audience.leave(only);
  expect(only.topics.size + audience.size).toBe(0);
});
