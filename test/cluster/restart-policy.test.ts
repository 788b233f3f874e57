import { expect, test } from "bun:test";
import fc from "fast-check";
import { afterExit, type ExitHistory, NO_EXITS } from "../../src/cluster/restart-policy.ts";

/** The delays that follow deaths at these times, each process having been ready for `servedMs`. */
function delays(deathsAtMs: readonly number[], servedMs: number): (number | undefined)[] {
  let deaths: ExitHistory = NO_EXITS;
  return deathsAtMs.map((atMs) => {
    const after = afterExit(deaths, atMs, servedMs);
    deaths = after.deaths;
    return after.delayMs;
  });
}

test("the first death is followed by a start at once, those after it by longer and longer waits", () => {
  expect(delays([0, 3000, 6000, 9000, 12_000, 15_000, 18_000, 21_000], 900)).toEqual([
    0, 100, 200, 400, 800, 1600, 2000, 2000,
  ]);
});

test("a process that was ready for a second has got over its past", () => {
  expect(delays([0, 100, 200], 100)).toEqual([0, 100, 200]);
  expect(delays([0, 2500, 5000, 7500, 10_000], 1000)).toEqual([0, 0, 0, 0, 0]);
});

test("a process that serves between its deaths, and yet dies too often, is in a crash loop", () => {
  expect(delays([0, 1500, 3000, 4500, 6000, 7500], 1200)).toEqual([0, 0, 0, 0, 0, undefined]);
});

test("the sixth death within ten seconds is a crash loop, the fifth is not", () => {
  expect(delays([0, 1000, 2000, 3000, 9000], 10)).toEqual([0, 100, 200, 400, 800]);
  expect(delays([0, 1000, 2000, 3000, 9000, 9999], 10).at(-1)).toBeUndefined();
  expect(delays([0, 1000, 2000, 3000, 9000, 10_000], 10).at(-1)).toBe(1600);
});

test("whatever happens, waits stay within 2 s and the memory of deaths within the window", () => {
  const lives = fc.array(fc.record({ pauseMs: fc.nat(5000), servedMs: fc.nat(3000) }), {
    maxLength: 200,
  });
  fc.assert(
    fc.property(lives, (past) => {
      let deaths: ExitHistory = NO_EXITS;
      let nowMs = 0;
      for (const { pauseMs, servedMs } of past) {
        nowMs += pauseMs + servedMs;
        const after = afterExit(deaths, nowMs, servedMs);
        deaths = after.deaths;
        expect(deaths.recentMs.every((atMs) => nowMs - atMs < 10_000)).toBe(true);
        expect(after.delayMs === undefined).toBe(deaths.recentMs.length > 5);
        expect(after.delayMs ?? 0).toBeLessThanOrEqual(2000);
      }
    }),
  );
});
