// The checker: a correct history passes, and each kind of violation is reported.

import { expect, test } from "bun:test";
import { check } from "../../src/chaos/checker.ts";
import type { History, Publication, ReadEvent, Reading } from "../../src/chaos/history.ts";
import type { Gap } from "../../src/wire/position.ts";

const said = (
  value: string,
  offset?: number,
  outcome: Publication["outcome"] = "ok",
  epoch = "e",
): Publication => ({
  channel: "room",
  publisher: value[0],
  value,
  outcome,
  position: offset === undefined ? undefined : { epoch, offset },
});
const at = (offset: number, gap?: Gap, epoch = "e"): ReadEvent => ({
  type: "stands",
  position: { epoch, offset },
  gap,
});
const got = (offset: number, value: string, epoch = "e"): ReadEvent => ({
  type: "message",
  epoch,
  offset,
  value,
});
const reading = (reader: string, ...events: ReadEvent[]): Reading => ({
  reader,
  channel: "room",
  events,
});

const three = [said("a1", 1), said("a2", 2), said("a3", 3)];
const whole = reading("r", at(0), got(1, "a1"), got(2, "a2"), got(3, "a3"));
const rules = (history: History) => check(history).map(({ rule }) => rule);

test("a correct history passes", () => {
  expect(check({ publications: three, readings: [whole], isWithinHistory: true })).toEqual([]);
  // A reader that starts late, reconnects and sees skipped offsets, and publications without an
  // answer.
  const publications = [
    said("a1", 1),
    said("a2", 5),
    said("a3", undefined, "unknown"),
    said("a4", undefined, "unknown"),
  ];
  const events = [at(2), got(5, "a2"), at(5), got(9, "a3")];
  expect(check({ publications, readings: [reading("r", ...events), reading("s", at(9))] })).toEqual(
    [],
  );
});

test("announced gaps and a new lineage are not violations", () => {
  const told = reading(
    "r",
    at(0),
    got(1, "a1"),
    at(2, { reason: "slow", from: 2, to: 2 }),
    got(3, "a3"),
  );
  expect(rules({ publications: three, readings: [told] })).toEqual([]);
  expect(rules({ publications: three, readings: [told], isWithinHistory: true })).toEqual(["C1"]);
  const publications = [...three, said("b1", 1, "ok", "f"), said("b2", 2, "ok", "f")];
  const moved = reading(
    "r",
    at(0),
    got(1, "a1"),
    at(1, { reason: "epoch", from: 2, to: 1 }, "f"),
    got(2, "b2", "f"),
  );
  expect(rules({ publications, readings: [moved] })).toEqual([]);
});

test("C1: an acknowledged publication is skipped", () => {
  const readings = [reading("r", at(0), got(1, "a1"), got(3, "a3"))];
  expect(check({ publications: three, readings })).toEqual([
    { rule: "C1", line: "C1 lost: r of room (e) went from 1 to 3 over 2 (a2)" },
  ]);
  // A resume that begins too far ahead also skips it.
  expect(
    rules({
      publications: three,
      readings: [reading("r", at(0), got(1, "a1"), at(2), got(3, "a3"))],
    }),
  ).toEqual(["C1"]);
  // Acknowledged without a position, and received by no subscriber.
  expect(rules({ publications: [...three, said("a4")], readings: [whole] })).toEqual(["C1"]);
});

test("C2: one message at two offsets, or delivered twice", () => {
  const twice = reading("r", at(0), got(1, "a1"), got(2, "a2"), got(3, "a3"), got(4, "a3"));
  expect(rules({ publications: three, readings: [twice] })).toEqual(["C2"]);
  const again = reading("r", at(0), got(1, "a1"), got(2, "a2"), got(2, "a2"), got(3, "a3"));
  expect(rules({ publications: three, readings: [again] })).toEqual(["C2"]);
});

test("C3: one position with two values, over all clients", () => {
  const publications = [...three, said("b1", undefined, "unknown")];
  const other = reading("s", at(2), got(3, "b1"));
  expect(rules({ publications, readings: [whole, other] })).toEqual(["C3"]);
  expect(rules({ publications: [...three, said("b1", 3)], readings: [whole] })).toEqual(["C3"]);
});

test("C4: an offset decreases", () => {
  const back = reading("r", at(0), got(1, "a1"), got(2, "a2"), got(3, "a3"), got(1, "a1"));
  expect(rules({ publications: three, readings: [back] })).toEqual(["C4"]);
  expect(
    rules({ publications: three, readings: [reading("r", at(2), got(3, "a3"), at(1))] }),
  ).toEqual(["C4"]);
});

test("C5: publications are skipped without a gap", () => {
  const publications = [said("a1", 1), said("a2", undefined, "unknown"), said("a3", 3)];
  const skips = reading("s", at(0), got(1, "a1"), got(3, "a3"));
  expect(rules({ publications, readings: [whole, skips] })).toEqual(["C5"]);
  // A gap that covers less than was skipped.
  const short = reading("s", at(0), at(2, { reason: "expired", from: 2, to: 2 }), got(3, "a3"));
  expect(rules({ publications: three, readings: [short] })).toEqual(["C1"]);
  // A new lineage without a gap.
  const moved = [said("a1", 1), said("b1", 1, "ok", "f")];
  const silent = reading("s", at(0), got(1, "a1"), got(1, "b1", "f"));
  expect(rules({ publications: moved, readings: [silent] })).toEqual(["C5"]);
  expect(rules({ publications: three, readings: [reading("s", got(1, "a1")), whole] })).toEqual([
    "C5",
    "C8",
  ]);
});

test("C6: a value is received that was never published, or whose publish failed", () => {
  const ghost = reading("r", ...whole.events, got(4, "ghost"));
  expect(rules({ publications: three, readings: [ghost] })).toEqual(["C6"]);
  const publications = [...three, said("a4", undefined, "failed")];
  expect(rules({ publications, readings: [reading("r", ...whole.events, got(4, "a4"))] })).toEqual([
    "C6",
  ]);
});

test("C7: the order of one publisher changes", () => {
  const publications = [said("a1", 1), said("a2", 3), said("a3", 2)];
  expect(check({ publications, readings: [] })).toEqual([
    { rule: "C7", line: "C7 reordered: a published a2 before a3, but in room e it is behind it" },
  ]);
});

test("C8: a publication is missing or unanswered at the end, or the lineages differ", () => {
  const early = reading("r", at(0), got(1, "a1"), got(2, "a2"));
  expect(check({ publications: three, readings: [early] })).toEqual([
    {
      rule: "C8",
      line: "C8 not arrived by the end: r of room (e) stopped at 2 and has not read 3 (a3)",
    },
  ]);
  expect(rules({ publications: three, readings: [{ ...early, isOver: true }] })).toEqual([]);
  expect(
    rules({ publications: [...three, said("a4", undefined, "pending")], readings: [whole] }),
  ).toEqual(["C8"]);
  const apart = reading("s", at(0, undefined, "f"));
  expect(rules({ publications: three, readings: [whole, apart] })).toEqual(["C8"]);
});

test("the check is linear: ten times the history takes about ten times as long", () => {
  const msFor = (count: number) => {
    const publications = Array.from({ length: count }, (_, n) => said(`a${n + 1}`, n + 1));
    const events = [at(0), ...publications.map(({ value }, n) => got(n + 1, value))];
    const history = {
      publications,
      readings: ["r", "s", "t"].map((name) => reading(name, ...events)),
    };
    const startedMs = performance.now();
    expect(check(history)).toEqual([]);
    return performance.now() - startedMs;
  };
  msFor(2000);
  expect(msFor(30_000)).toBeLessThan(40 * msFor(3000) + 500);
});
