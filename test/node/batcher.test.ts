import { expect, test } from "bun:test";
import { Batcher } from "../../src/node/channels/batcher.ts";

const reader = () => {
  const topics = new Set<string>();
  return {
    encoding: "json",
    topics,
    joinTopic: (topic: string) => topics.add(topic),
    leaveTopic: (topic: string) => topics.delete(topic),
  } as const;
};

function batcherOf(readers: number, batchMs = 50): Batcher {
  const batcher = new Batcher("news", batchMs);
  for (let n = 0; n < readers; n++) batcher.addReader(reader());
  return batcher;
}

test("the first publication goes at once, the next waits as many ms as there are readers", () => {
  const batcher = batcherOf(20);
  batcher.queueMessage("1");
  expect(batcher.isDue(1000)).toBe(true);
  expect(batcher.takeBatch(1000)).toEqual(["1"]);
  batcher.queueMessage("2");
  batcher.queueMessage("3");
  expect(batcher.isDue(1019)).toBe(false);
  expect(batcher.isDue(1020)).toBe(true);
  expect(batcher.takeBatch(1020)).toEqual(["2", "3"]);
  expect(batcher.takeBatch(1020)).toEqual([]);
});

test("what comes in the same millisecond goes out with it", () => {
  const batcher = batcherOf(20);
  batcher.queueMessage("1");
  batcher.takeBatch(1000);
  batcher.queueMessage("2");
  expect(batcher.isDue(1000)).toBe(true);
});

test("nothing waits longer than the limit, nor at all where that is 0", () => {
  const many = batcherOf(500);
  many.queueMessage("1");
  many.takeBatch(1000);
  many.queueMessage("2");
  expect(many.isDue(1049)).toBe(false);
  expect(many.isDue(1050)).toBe(true);
  const never = batcherOf(500, 0);
  never.queueMessage("1");
  never.takeBatch(1000);
  expect(never.isDue(1000.5)).toBe(true);
});

test("a channel that speaks once in a rest does not wait, even if it was told late", () => {
  const batcher = batcherOf(500);
  batcher.queueMessage("1");
  batcher.takeBatch(1000);
  for (const [madeMs, toldMs] of [
    [1050, 1055],
    [1100, 1104],
    [1150, 1151],
  ]) {
    batcher.queueMessage("next");
    expect(batcher.isDue(madeMs)).toBe(true);
    batcher.takeBatch(toldMs);
  }
  batcher.queueMessage("too soon");
  expect(batcher.isDue(1199)).toBe(false);
});

test("a quiet channel's publication does not wait", () => {
  const batcher = batcherOf(500);
  batcher.queueMessage("1");
  batcher.takeBatch(1000);
  batcher.queueMessage("2");
  expect(batcher.isDue(1060)).toBe(true);
});

test("much that waits goes out before its time", () => {
  const batcher = batcherOf(500);
  batcher.takeBatch(1000);
  batcher.queueMessage("1");
  batcher.takeBatch(1000);
  batcher.queueMessage("x".repeat(60 * 1024));
  expect(batcher.isDue(1001)).toBe(false);
  batcher.queueMessage("x".repeat(8 * 1024));
  expect(batcher.isDue(1001)).toBe(true);
});

test("without readers nothing is kept", () => {
  const batcher = new Batcher("news", 50);
  batcher.queueMessage("1");
  expect(batcher.takeBatch(1000)).toEqual([]);
  const only = reader();
  batcher.addReader(only);
  expect(only.topics).toEqual(new Set(["j news"]));
  batcher.removeReader(only);
  expect(only.topics.size + batcher.readerCount).toBe(0);
});
