import { expect, test } from "bun:test";
import { RoundRobin } from "../../src/runtime/round-robin.ts";

test("each has its turn, round and round, whatever comes and goes", () => {
  const map = new Map<string, number>();
  const round = new RoundRobin(map);
  const turns = (count: number) => Array.from({ length: count }, () => round.next());
  expect(turns(2)).toEqual([undefined, undefined]);
  for (const n of [1, 2, 3]) map.set(`${n}`, n);
  expect(turns(4)).toEqual([1, 2, 3, 1]);
  map.delete("2");
  map.set("4", 4);
  expect(turns(4)).toEqual([3, 4, 1, 3]);
  map.clear();
  expect(turns(2)).toEqual([undefined, undefined]);
});
