// A session's request queue: order, rate and bounds.

import { describe, expect, test } from "bun:test";
import { WAITING_REQUESTS_MAX } from "../../src/node/app/limits.ts";
import { RequestQueue } from "../../src/node/session/request-queue.ts";
import { TokenBucket } from "../../src/runtime/token-bucket.ts";
import { turn } from "../eventually.ts";

type Request = { name: string; bytes: number; takes?: Promise<void> };

describe("a session's request queue", () => {
  function setUp({ perSecond = 1000, bytesMax = 1000 } = {}) {
    const answered: string[] = [];
    const state = { nowMs: 0, isReady: true };
    const bucket = new TokenBucket(perSecond, state.nowMs);
    const queue = new RequestQueue<Request>({
      answer: ({ name, takes }) => {
        answered.push(name);
        return takes;
      },
      isReady: () => state.isReady,
      take: () => bucket.take(state.nowMs),
      bytesMax,
    });
    const offer = (name: string, takes?: Promise<void>) => queue.offer({ name, bytes: 1, takes });
    return { queue, answered, state, offer };
  }

  test("what takes its time holds up what follows, in order", async () => {
    const { answered, offer } = setUp();
    const { promise, resolve } = Promise.withResolvers<void>();
    for (const name of ["a", "b"]) offer(name, name === "a" ? promise : undefined);
    offer("c");
    expect(answered).toEqual(["a"]);
    resolve();
    await promise;
    await turn();
    expect(answered).toEqual(["a", "b", "c"]);
  });

  test("without room nothing starts, until it is resumed", () => {
    const { queue, answered, state, offer } = setUp();
    state.isReady = false;
    for (const name of ["a", "b"]) offer(name);
    expect(answered).toEqual([]);
    state.isReady = true;
    queue.resume();
    expect(answered).toEqual(["a", "b"]);
    expect(queue.isPaced).toBe(false);
  });

  test("beyond the rate they wait; what waits is bounded in number and bytes", () => {
    const { queue, answered, state, offer } = setUp({ perSecond: 10 });
    for (let n = 0; n < 10 + WAITING_REQUESTS_MAX; n++) expect(offer(`r${n}`)).toBe(true);
    expect(offer("too many")).toBe(false);
    expect(answered).toHaveLength(10);
    expect(queue.isPaced).toBe(true);
    state.nowMs = 500;
    queue.resume();
    expect(answered).toHaveLength(15);
    queue.clear();
    const heavy = setUp({ perSecond: 1, bytesMax: 10 }).queue;
    heavy.offer({ name: "first", bytes: 100 });
    expect(heavy.offer({ name: "second", bytes: 9 })).toBe(true);
    expect(heavy.offer({ name: "third", bytes: 2 })).toBe(false);
  });
});
