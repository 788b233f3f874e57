import { expect, test } from "bun:test";
import fc from "fast-check";
import { isChannelName, ownerOf } from "../../src/wire/channel-name.ts";
import { resume } from "../../src/wire/position.ts";

const readable = { epoch: "e1", first: 5, top: 9, trimmed: "expired" } as const;

test("resume: what follows the position, and what is missing, by value", () => {
  expect(resume({ epoch: "e1", offset: 9 }, readable)).toEqual({ after: 9, gap: null });
  expect(resume({ epoch: "e1", offset: 6 }, readable)).toEqual({ after: 6, gap: null });
  expect(resume({ epoch: "e1", offset: 4 }, readable)).toEqual({ after: 4, gap: null });
  expect(resume({ epoch: "e1", offset: 2 }, readable)).toEqual({
    after: 4,
    gap: { reason: "expired", from: 3, to: 4 },
  });
  expect(resume({ epoch: "e1", offset: 10 }, readable)).toEqual({
    after: 9,
    gap: { reason: "epoch", from: 11, to: 9 },
  });
  expect(resume({ epoch: "e0", offset: 6 }, readable)).toEqual({
    after: 9,
    gap: { reason: "epoch", from: 7, to: 9 },
  });
  expect(resume({ epoch: "e1", offset: 0 }, { ...readable, first: 1, top: 0 })).toEqual({
    after: 0,
    gap: null,
  });
});

test("resume: a reader of the same lineage gets all that follows its position, or is told what not", () => {
  fc.assert(
    fc.property(fc.nat(50), fc.nat(50), fc.nat(100), (first, length, offset) => {
      const window = {
        epoch: "e",
        first: first + 1,
        top: first + length,
        trimmed: "evicted",
      } as const;
      const { after, gap } = resume({ epoch: "e", offset }, window);
      if (offset > window.top) expect(gap?.reason).toBe("epoch");
      else expect(gap === null ? after : gap.from - 1).toBe(offset);
      if (gap?.reason === "evicted")
        expect([gap.to, after]).toEqual([window.first - 1, window.first - 1]);
    }),
  );
});

test("channel names", () => {
  for (const good of ["a", "chat:42", "ünï", "日本", "x".repeat(200)])
    expect(isChannelName(good)).toBe(true);
  for (const bad of [
    "",
    "a b",
    "a\n",
    "\u0000",
    "a\u202e",
    "\ud800",
    "x".repeat(201),
    "日".repeat(67),
    "\u00a0",
  ])
    expect(isChannelName(bad)).toBe(false);
});

test("rendezvous hashing spreads channels evenly, and a new relay only takes, never shuffles", () => {
  const two = ["relay-1", "relay-2"];
  const three = [...two, "relay-3"];
  const counts = [0, 0, 0];
  for (let i = 0; i < 9000; i++) {
    const before = ownerOf(`channel-${i}`, two);
    const after = ownerOf(`channel-${i}`, three);
    counts[after]++;
    if (after !== 2) expect(after).toBe(before);
  }
  for (const count of counts) expect(count).toBeGreaterThan(2600);
});
