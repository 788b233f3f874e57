import { expect, test } from "bun:test";
import { Responsiveness } from "../../src/cluster/silence.ts";

/** The first of these ticks at which a process counts as hanging. */
const hangsAt = (silence: Responsiveness, ticksMs: readonly number[]): number | undefined =>
  ticksMs.find((atMs) => silence.isUnresponsive(atMs));
const everySecond = (fromMs: number, count: number): number[] =>
  Array.from({ length: count }, (_, index) => fromMs + 1000 * index);

test("a ready process hangs when it was silent for more than five seconds", () => {
  const silence = new Responsiveness(0);
  silence.becameReady();
  expect(hangsAt(silence, everySecond(1000, 3))).toBeUndefined();
  silence.messageReceived(3500);
  expect(hangsAt(silence, everySecond(4000, 20))).toBe(9000);
});

test("a starting process may be silent for fifteen", () => {
  expect(hangsAt(new Responsiveness(0), everySecond(1000, 30))).toBe(16_000);
});

test("a tick that comes late gives another round: it was the supervisor that slept", () => {
  const silence = new Responsiveness(0);
  silence.becameReady();
  expect(
    hangsAt(silence, [1000, 2000, 60_000, 61_000, 62_000, 63_000, 64_000, 65_000]),
  ).toBeUndefined();
  expect(silence.isUnresponsive(66_000)).toBe(true);
});
