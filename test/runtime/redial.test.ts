import { expect, test } from "bun:test";
import { redialMs } from "../../src/runtime/link-core.ts";

test("a relay that is just gone is dialed every 20 ms or so, one that stays away four times a second at least", () => {
  const dials = [0, 500, 800, 2000, 10_000, 3_600_000].map((awayMs) => redialMs(awayMs, 0.5));
  expect(dials).toEqual([20, 20, 20, 50, 250, 250]);
  expect([redialMs(0, 0), redialMs(0, 0.999)].map(Math.round)).toEqual([10, 30]);
});
