// When an lb without file descriptors stops to accept, and when it begins again.

import { expect, test } from "bun:test";
import { AcceptPause } from "../../src/lb/accept/accept-pause.ts";

test("it pauses when none is left, and begins again when a good many are free", () => {
  const pause = new AcceptPause();
  let free = 1;
  const check = (nowMs: number) => pause.check(nowMs, (count) => count <= free);
  expect(check(0)).toBeUndefined();
  free = 0;
  expect(check(250)).toBe("pause");
  expect(check(500)).toBeUndefined();
  free = 31;
  expect(check(1000)).toBeUndefined();
  free = 32;
  expect(check(1500)).toBeUndefined();
  expect(check(2000)).toBe("resume");
});

test("it waits longer each time that it runs out again, up to a limit, and forgets that in time", () => {
  const pause = new AcceptPause();
  let nowMs = 0;
  let free = 0;
  const check = () => pause.check(nowMs, (count) => count <= free);
  /** How long it stays paused though descriptors are free. */
  const pausedMs = () => {
    free = 0;
    expect(check()).toBe("pause");
    free = 100;
    const sinceMs = nowMs;
    while (check() !== "resume") nowMs += 250;
    return nowMs - sinceMs;
  };
  expect(Array.from({ length: 7 }, pausedMs)).toEqual([500, 1000, 2000, 4000, 8000, 8000, 8000]);
  nowMs += 60_000;
  expect(pausedMs()).toBe(500);
});

test("where it cannot listen, it tries again later", () => {
  const pause = new AcceptPause();
  expect(pause.check(0, () => false)).toBe("pause");
  expect(pause.check(500, () => true)).toBe("resume");
  pause.resumeFailed(500);
  expect(pause.check(1000, () => true)).toBeUndefined();
  expect(pause.check(1500, () => true)).toBe("resume");
});
