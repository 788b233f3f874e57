// The table of an attack's outcome, and its verdict.

import { expect, test } from "bun:test";
import { allStood, type Outcome, table } from "./report.ts";

const STOOD: Outcome = {
  attack: "poison",
  did: "a | b\nc",
  told: { "error rate": 2, ok: 1 },
  p50Ms: 1.23,
  p99Ms: 4.56,
  acknowledged: 9,
  delivered: 18,
  published: 9,
  expected: 18,
  closed: {},
  restarts: {},
  memoryMb: { "node-1": { before: 50.4, peak: 60.6, after: 51 } },
  wrong: [],
};

test("an outcome is one row, and what it holds cannot break the table", () => {
  const [, , row] = table([STOOD]).split("\n");
  expect(row).toBe(
    "| poison | a \\| b c | error rate: 2, ok: 1 | 1.2 / 4.6 | 9 of 9 | 18 of 18 | none | none | node-1: 50 61 51 | stood |",
  );
});

test("one wrong thing is a failure, and of many the first are shown", () => {
  const failed = { ...STOOD, wrong: ["a", "b", "c", "d", "e", "f"] };
  expect(table([failed])).toEndWith("| FAILED: a; b; c; d; and 2 more |");
  expect([allStood([STOOD]), allStood([STOOD, failed])]).toEqual([true, false]);
});
