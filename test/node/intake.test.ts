import { describe, expect, test } from "bun:test";
import { WAITING_REQUESTS_MAX } from "../../src/node/app/limits.ts";
import { Presence } from "../../src/node/channels/presence.ts";
import { departures } from "../../src/node/session/drain.ts";
import { PublishWindow } from "../../src/node/session/publish-window.ts";
import { RequestQueue } from "../../src/node/session/request-queue.ts";
import { TokenBucket } from "../../src/runtime/token-bucket.ts";
import { turn } from "../eventually.ts";

type Request = { name: string; bytes: number; takes?: Promise<void> };

describe("a session's intake", () => {
  function setUp({ perSecond = 1000, bytesMax = 1000 } = {}) {
    const answered: string[] = [];
    const state = { nowMs: 0, isReady: true };
    const intake = new RequestQueue<Request>({
      answer: ({ name, takes }) => {
        answered.push(name);
        return takes;
      },
      isReady: () => state.isReady,
      nowMs: () => state.nowMs,
      requestsPerSecond: perSecond,
      bytesMax,
    });
    const offer = (name: string, takes?: Promise<void>) => intake.offer({ name, bytes: 1, takes });
    return { intake, answered, state, offer };
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
    const { intake, answered, state, offer } = setUp();
    state.isReady = false;
    for (const name of ["a", "b"]) offer(name);
    expect(answered).toEqual([]);
    state.isReady = true;
    intake.resume();
    expect(answered).toEqual(["a", "b"]);
    expect(intake.isPaced).toBe(false);
  });

  test("beyond the rate they wait; what waits is bounded in number and bytes", () => {
    const { intake, answered, state, offer } = setUp({ perSecond: 10 });
    for (let n = 0; n < 10 + WAITING_REQUESTS_MAX; n++) expect(offer(`r${n}`)).toBe(true);
    expect(offer("too many")).toBe(false);
    expect(answered).toHaveLength(10);
    expect(intake.isPaced).toBe(true);
    state.nowMs = 500;
    intake.resume();
    expect(answered).toHaveLength(15);
    intake.clear();
    const heavy = setUp({ perSecond: 1, bytesMax: 10 }).intake;
    heavy.offer({ name: "first", bytes: 100 });
    expect(heavy.offer({ name: "second", bytes: 9 })).toBe(true);
    expect(heavy.offer({ name: "third", bytes: 2 })).toBe(false);
  });
});

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

test("publications behind one that was refused for now are refused until it comes again, or seems given up", () => {
  const window = new PublishWindow();
  expect(window.mayPass("a", 5, 0)).toBe(true);
  window.postponed("a", 5, 0);
  window.postponed("a", 6, 0);
  expect(window.mayPass("a", 6, 0)).toBe(false);
  expect(window.mayPass("b", 6, 0)).toBe(true);
  expect(window.mayPass("a", 4, 0)).toBe(true);
  expect(window.mayPass("a", 7, 0)).toBe(false);
  expect(window.mayPass("a", 5, 0)).toBe(true);
  expect(window.mayPass("a", 7, 0)).toBe(true);
  window.postponed("a", 8, 0);
  expect(window.mayPass("a", 9, 9999)).toBe(false);
  expect(window.mayPass("a", 9, 10_000)).toBe(true);
  for (let n = 0; n < 200; n++) window.postponed(`c${n}`, 1, 0);
  expect(window.mayPass("c0", 2, 0)).toBe(true);
  expect(window.mayPass("c199", 2, 0)).toBe(false);
});

describe("attendance", () => {
  const bytes = (text: string) => new TextEncoder().encode(text);

  test("the list is given when the relay has named everyone; our own are in it before that is confirmed", () => {
    const attendance = new Presence("room");
    const lists: unknown[] = [];
    attendance.ask((text) => lists.push(JSON.parse(text ?? "null")), 100);
    attendance.opened(2, 0);
    expect(attendance.entered("a", bytes('{"n":1}'))).toBe(
      '{"type":"join","channel":"room","client":"a","info":{"n":1}}',
    );
    expect(lists).toEqual([]);
    attendance.attend("mine", bytes(""));
    attendance.entered("b", bytes(""));
    expect(lists).toEqual([[{ client: "a", info: { n: 1 } }, { client: "b" }, { client: "mine" }]]);
    expect(attendance.entered("b", bytes(""))).toBeUndefined();
    expect(attendance.left("b")).toBe('{"type":"leave","channel":"room","client":"b"}');
    expect(attendance.left("b")).toBeUndefined();
  });

  test("after a new link those who are not named again leave, but only after a while", () => {
    const attendance = new Presence("room");
    attendance.opened(0, 0);
    for (const client of ["a", "b"]) attendance.entered(client, bytes(""));
    attendance.opened(0, 1000);
    expect(attendance.entered("a", bytes(""))).toBeUndefined();
    expect(attendance.expire(5900)).toEqual([]);
    expect(attendance.expire(6000)).toEqual(['{"type":"leave","channel":"room","client":"b"}']);
    expect(attendance.expire(60_000)).toEqual([]);
  });

  test("who asks in vain is told", () => {
    const attendance = new Presence("room");
    const lists: unknown[] = [];
    attendance.ask((text) => lists.push(text), 100);
    attendance.expire(100);
    expect(lists).toEqual([]);
    attendance.expire(101);
    expect(lists).toEqual([undefined]);
  });
});

test("a draining node's clients leave at moments of their own: a few at once, many spread out", () => {
  let n = 0;
  const random = () => (n++ % 100) / 100;
  const few = departures(["a", "b", "c"], random);
  expect(few.every(({ afterMs }) => afterMs <= 100)).toBe(true);
  const many = departures(
    Array.from({ length: 1000 }, (_, i) => i),
    random,
  );
  expect(new Set(many.map(({ client }) => client)).size).toBe(1000);
  expect(many.map(({ afterMs }) => afterMs)).toEqual(
    many.map(({ afterMs }) => afterMs).sort((a, b) => a - b),
  );
  expect(many.filter(({ afterMs }) => afterMs < 500)).toHaveLength(500);
});
