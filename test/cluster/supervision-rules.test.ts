import { expect, test } from "bun:test";
import fc from "fast-check";
import {
  afterExit,
  type ExitHistory,
  NO_EXITS,
  Responsiveness,
} from "../../src/cluster/supervision-rules.ts";

/** The first of these ticks at which a process counts as hanging. */
const hangsAt = (silence: Responsiveness, ticksMs: readonly number[]): number | undefined =>
  ticksMs.find((atMs) => silence.isUnresponsive(atMs));
const everySecond = (fromMs: number, count: number): number[] =>
  Array.from({ length: count }, (_, index) => fromMs + 1000 * index);

test("a ready process is unresponsive after five seconds without a message", () => {
  const silence = new Responsiveness(0);
  silence.becameReady();
  expect(hangsAt(silence, everySecond(1000, 3))).toBeUndefined();
  silence.messageReceived(3500);
  expect(hangsAt(silence, everySecond(4000, 20))).toBe(9000);
});

test("a starting process has fifteen seconds", () => {
  expect(hangsAt(new Responsiveness(0), everySecond(1000, 30))).toBe(16_000);
});

test("a late check gives another interval: the supervisor itself was suspended", () => {
  const silence = new Responsiveness(0);
  silence.becameReady();
  expect(
    hangsAt(silence, [1000, 2000, 60_000, 61_000, 62_000, 63_000, 64_000, 65_000]),
  ).toBeUndefined();
  expect(silence.isUnresponsive(66_000)).toBe(true);
});

/** The delays that follow exits at these times, each process having been ready for `servedMs`. */
function delays(deathsAtMs: readonly number[], servedMs: number): (number | undefined)[] {
  let exits: ExitHistory = NO_EXITS;
  return deathsAtMs.map((atMs) => {
    const after = afterExit(exits, atMs, servedMs);
    exits = after.exits;
    return after.delayMs;
  });
}

test("the first exit is followed by a start at once, later ones by longer and longer delays", () => {
  expect(delays([0, 3000, 6000, 9000, 12_000, 15_000, 18_000, 21_000], 900)).toEqual([
    0, 100, 200, 400, 800, 1600, 2000, 2000,
  ]);
});

test("a process that was ready for a second is restarted at once", () => {
  expect(delays([0, 100, 200], 100)).toEqual([0, 100, 200]);
  expect(delays([0, 2500, 5000, 7500, 10_000], 1000)).toEqual([0, 0, 0, 0, 0]);
});

test("a process that serves between its exits, but exits too often, is in a crash loop", () => {
  expect(delays([0, 1500, 3000, 4500, 6000, 7500], 1200)).toEqual([0, 0, 0, 0, 0, undefined]);
});

test("the sixth exit within ten seconds is a crash loop, the fifth is not", () => {
  expect(delays([0, 1000, 2000, 3000, 9000], 10)).toEqual([0, 100, 200, 400, 800]);
  expect(delays([0, 1000, 2000, 3000, 9000, 9999], 10).at(-1)).toBeUndefined();
  expect(delays([0, 1000, 2000, 3000, 9000, 10_000], 10).at(-1)).toBe(1600);
});

test("delays stay within 2 s and the remembered exits within the window", () => {
  const lives = fc.array(fc.record({ pauseMs: fc.nat(5000), servedMs: fc.nat(3000) }), {
    maxLength: 200,
  });
  fc.assert(
    fc.property(lives, (past) => {
      let exits: ExitHistory = NO_EXITS;
      let nowMs = 0;
      for (const { pauseMs, servedMs } of past) {
        nowMs += pauseMs + servedMs;
        const after = afterExit(exits, nowMs, servedMs);
        exits = after.exits;
        expect(exits.recentMs.every((atMs) => nowMs - atMs < 10_000)).toBe(true);
        expect(after.delayMs === undefined).toBe(exits.recentMs.length > 5);
        expect(after.delayMs ?? 0).toBeLessThanOrEqual(2000);
      }
    }),
  );
});
