// When each client of a draining node is told to leave.

import { expect, test } from "bun:test";
import { departures } from "../../src/node/session/drain.ts";

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
