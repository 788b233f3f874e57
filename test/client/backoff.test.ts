import { expect, test } from "bun:test";
import fc from "fast-check";
import { backoffMs } from "../../src/client/backoff.ts";

test("the first retry is quick, later ones double up to ten seconds, all are spread", () => {
  fc.assert(
    fc.property(
      fc.nat(40),
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      (attempt, random) => {
        const longest = Math.min(100 * 2 ** attempt, 10_000);
        const delay = backoffMs(attempt, random);
        expect(delay).toBeLessThanOrEqual(longest);
        expect(delay).toBeGreaterThanOrEqual(attempt === 0 ? 0 : longest / 2);
      },
    ),
  );
});
