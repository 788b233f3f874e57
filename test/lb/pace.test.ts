// What an lb does at a time, by value: the clock and the turns are the test's.

import { expect, test } from "bun:test";
import { Pace, PacedQueue } from "../../src/lb/net/pace.ts";

/** A queue of 2 jobs a millisecond, whose time passes when the test says so. */
function pacedQueue() {
  let nowMs = 1000;
  let asked: (() => void) | undefined;
  const done: number[] = [];
  const queue = new PacedQueue(
    2000,
    () => nowMs,
    (work) => {
      asked = work;
    },
  );
  return {
    done,
    add: (...numbers: number[]) => numbers.forEach((n) => void queue.enqueue(() => done.push(n))),
    pass(ms: number) {
      nowMs += ms;
      const work = asked;
      asked = undefined;
      work?.();
    },
    get isWaiting() {
      return asked !== undefined;
    },
  };
}

const numbers = (from: number, to: number) => Array.from({ length: to - from }, (_, i) => from + i);

test("a few jobs are done at once, and the queue asks for no timer", () => {
  const queue = pacedQueue();
  queue.add(1, 2, 3);
  expect(queue.done).toEqual([1, 2, 3]);
  expect(queue.isWaiting).toBe(false);
});

test("many are done in order, as many as their time allows", () => {
  const queue = pacedQueue();
  queue.add(...numbers(0, 20));
  expect(queue.done).toEqual(numbers(0, 8));
  queue.pass(1);
  expect(queue.done).toEqual(numbers(0, 10));
  queue.pass(0.25);
  expect(queue.done).toEqual(numbers(0, 10));
  queue.pass(0.25);
  expect(queue.done).toEqual(numbers(0, 11));
  queue.pass(2);
  queue.add(20, 21);
  queue.pass(4);
  expect(queue.done).toEqual(numbers(0, 22));
  expect(queue.isWaiting).toBe(false);
});

test("what a long pause has missed is not made up for at once", () => {
  const queue = pacedQueue();
  queue.add(...numbers(0, 100));
  queue.pass(1000);
  expect(queue.done).toEqual(numbers(0, 16));
});

test("a job that adds another one leaves it to its turn", () => {
  const done: string[] = [];
  const queue = new PacedQueue(
    1000,
    () => 0,
    () => {},
  );
  queue.enqueue(() => {
    done.push("first");
    queue.enqueue(() => done.push("third"));
    done.push("second");
  });
  expect(done).toEqual(["first", "second", "third"]);
});

test("a pace has room again when the next turn begins, which it asks for once", () => {
  const turns: (() => void)[] = [];
  let begun = 0;
  const pace = new Pace(
    2,
    (begin) => void turns.push(begin),
    () => begun++,
  );
  pace.spend();
  expect(pace.hasRoom).toBe(true);
  pace.spend();
  expect(pace.hasRoom).toBe(false);
  expect(turns).toHaveLength(1);
  turns[0]();
  expect([pace.hasRoom, begun]).toEqual([true, 1]);
});
