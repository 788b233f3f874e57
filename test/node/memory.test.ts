import { expect, test } from "bun:test";
import fc from "fast-check";
import { Frames } from "../../src/node/channels/frames.ts";
import { Memory } from "../../src/node/channels/memory.ts";

const POLICY = { size: 1000, ttlMs: 1000, bytes: 1_000_000 };
const read = (memory: Memory, offset: number) => {
  const got: string[] = [];
  const upTo = memory.read(offset, (text) => got.push(text) > 0);
  return { got: got.map(Number), upTo };
};

/** What may happen to a memory. */
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

test("whoever is covered is given everything that follows, in order, up to where it says", () => {
  fc.assert(
    fc.property(events, fc.integer({ min: 0, max: 12 }), (happened, size) => {
      const memory = new Memory({ ...POLICY, size, ttlMs: 0 });
      let all: number[] = [];
      let top = 0;
      for (const event of happened) {
        if (event.type === "append") {
          top += event.step;
          all.push(top);
          memory.append(top, top, String(top));
        } else if (event.type === "page") {
          // As the relay answers: what follows some offset, as far as the page goes.
          const after = Math.max(0, top - event.back);
          const run = new Frames(after);
          for (const offset of all.filter((offset) => offset > after).slice(0, event.count))
            run.append(offset, offset, String(offset));
          memory.keepPage(run);
        } else if (event.type === "shrink") memory.shrink();
        else if (event.type === "expire") memory.expire(top - event.age);
        else {
          top += 5;
          all = [];
          memory.restart(top);
        }
        expect(memory.top).toBe(top);
        for (let offset = Math.max(0, top - 25); offset <= top + 1; offset++) {
          if (!memory.covers(offset)) continue;
          const { got, upTo } = read(memory, offset);
          expect(got).toEqual(all.filter((each) => each > offset && each <= upTo));
          expect(upTo > offset || offset === top).toBe(true);
        }
        expect(memory.covers(top)).toBe(true);
        const newest = memory.beforeNewest(3);
        if (newest !== undefined) expect(read(memory, newest).got).toEqual(all.slice(-3));
      }
    }),
    { numRuns: 300 },
  );
});

test("it stays within the policy and its own bounds, and knows its size", () => {
  const memory = new Memory({ ...POLICY, size: 5 });
  for (let offset = 1; offset <= 2000; offset++) memory.append(offset, offset, "12345");
  expect(memory.size).toBe(25);
  expect(memory.covers(1994)).toBe(false);
  expect(memory.covers(1995)).toBe(true);
  const big = new Memory({ ...POLICY, size: 1_000_000, bytes: 1e9 });
  for (let offset = 1; offset <= 5000; offset++) big.append(offset, offset, "x".repeat(1000));
  expect(big.size).toBeLessThanOrEqual(1024 * 1024);
  const none = new Memory({ ...POLICY, size: 0 });
  none.append(1, 1, "x");
  expect(none.size).toBe(0);
  expect([none.covers(0), none.covers(1)]).toEqual([false, true]);
});

test("a reader that has enough stops, and goes on from there", () => {
  const memory = new Memory(POLICY);
  for (let offset = 1; offset <= 10; offset++) memory.append(offset, 0, String(offset));
  const got: string[] = [];
  expect(memory.read(0, (text) => got.push(text) < 3)).toBe(3);
  expect(memory.read(3, (text) => got.push(text) < 100)).toBe(10);
  expect(got.map(Number)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
});
