import { expect, test } from "bun:test";
import fc from "fast-check";
import {
  afterExit,
  type ExitHistory,
  NO_EXITS,
  Responsiveness,
} from "../../src/cluster/supervision/supervision-rules.ts";

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

/** What follows exits at these times, each process having been ready for `servedMs`. */
function decisions(deathsAtMs: readonly number[], servedMs: number, isRefusal = false) {
  let exits: ExitHistory = NO_EXITS;
  return deathsAtMs.map((atMs) => {
    const after = afterExit(exits, atMs, { servedMs, isRefusal });
    exits = after.exits;
    return after;
  });
}
const delays = (deathsAtMs: readonly number[], servedMs: number, isRefusal = false): number[] =>
  decisions(deathsAtMs, servedMs, isRefusal).map(({ delayMs }) => delayMs);
const loops = (deathsAtMs: readonly number[], servedMs: number): boolean[] =>
  decisions(deathsAtMs, servedMs).map(({ isCrashLoop }) => isCrashLoop);

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
  expect(loops([0, 1500, 3000, 4500, 6000, 7500], 1200)).toEqual([
    ...[false, false, false, false, false],
    true,
  ]);
});

test("the sixth exit within ten seconds is a crash loop, the fifth is not", () => {
  expect(loops([0, 1000, 2000, 3000, 9000, 9999], 10).at(-1)).toBe(true);
  expect(loops([0, 1000, 2000, 3000, 9000, 10_000], 10).at(-1)).toBe(false);
});

test("a crash loop is tried again for ever, ever more slowly, until the process has served", () => {
  const deaths = [0, 10, 20, 30, 40, 50, 1100, 3200, 7300, 15_400, 25_500, 1_000_000];
  expect(delays(deaths, 10).slice(5)).toEqual([1000, 2000, 4000, 8000, 10_000, 10_000, 10_000]);
  const [last] = decisions(deaths, 10).slice(-1);
  const after = afterExit(last.exits, 1_100_000, { servedMs: 10_000, isRefusal: false });
  expect(after).toMatchObject({ delayMs: 0, isCrashLoop: false });
});

test("a process that says why it cannot start is no crash: it is tried every two seconds", () => {
  const every = Array.from({ length: 9 }, (_, index) => index * 100);
  const refused = decisions(every, 0, true);
  expect(refused.map(({ isCrashLoop }) => isCrashLoop)).toEqual(every.map(() => false));
  expect(delays(every, 0, true).slice(-3)).toEqual([2000, 2000, 2000]);
});

test("there is always another start, within ten seconds, and little is remembered", () => {
  const lives = fc.array(
    fc.record({ pauseMs: fc.nat(5000), servedMs: fc.nat(20_000), isRefusal: fc.boolean() }),
    { maxLength: 200 },
  );
  fc.assert(
    fc.property(lives, (past) => {
      let exits: ExitHistory = NO_EXITS;
      let nowMs = 0;
      for (const { pauseMs, servedMs, isRefusal } of past) {
        nowMs += pauseMs + servedMs;
        const after = afterExit(exits, nowMs, { servedMs, isRefusal });
        exits = after.exits;
        expect(exits.recentMs.every((atMs) => nowMs - atMs < 10_000)).toBe(true);
        if (!isRefusal && exits.recentMs.length > 5) expect(after.isCrashLoop).toBe(true);
        expect(after.delayMs).toBeGreaterThanOrEqual(0);
        expect(after.delayMs).toBeLessThanOrEqual(10_000);
      }
    }),
  );
});
