// Which node gets the next connection.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { chosen, node, poolOf } from "./pool-harness.ts";

describe("leastconn", () => {
  test("always one of the least loaded; the counts of other lbs count", () => {
    const loads = fc.array(fc.tuple(fc.nat(20), fc.nat(20)), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(loads, (given) => {
        const { pool, nodes } = poolOf(given.map((_, at) => `n${at}`));
        given.forEach(([own, others], at) => {
          nodes[at].connections = own;
          nodes[at].connectionsOnOtherLbs = others;
        });
        const least = Math.min(...given.map(([own, others]) => own + others));
        const choice = pool.choose(0);
        expect(
          typeof choice === "object" ? choice.connections + choice.connectionsOnOtherLbs : choice,
        ).toBe(least);
      }),
    );
  });

  test("ties are taken in turn", () => {
    const { pool } = poolOf(["a", "b", "c"]);
    expect(Array.from({ length: 7 }, () => chosen(pool)).join("")).toBe("abcabca");
  });

  test("down, closed, gone and full nodes are skipped; failing ones too, unless there is nothing better", () => {
    const { pool, nodes } = poolOf(["a", "b", "c"], { rampMs: 0, nodeConnectionsMax: 1 });
    const [a, b, c] = nodes;
    a.health = "down";
    b.adminState = "closed";
    expect(chosen(pool)).toBe("c");
    pool.acquire(c);
    expect(chosen(pool)).toBe("full");
    c.health = "failing";
    pool.release(c);
    expect(chosen(pool)).toBe("c");
    expect(pool.isAvailable(c)).toBe(true);
    a.health = "up";
    expect(chosen(pool)).toBe("a");
    expect(pool.isAvailable(c)).toBe(false);
    for (const each of nodes) pool.removeNode(each);
    expect(chosen(pool)).toBe("none");
    expect([...pool.nodes]).toEqual([]);
  });

  test("a node that left is remembered while it has connections, and forgotten with the last", () => {
    const { pool, nodes } = poolOf(["a"]);
    pool.acquire(nodes[0]);
    pool.removeNode(nodes[0]);
    expect(pool.node("a")).toBe(nodes[0]);
    expect(chosen(pool)).toBe("none");
    pool.release(nodes[0]);
    expect(pool.node("a")).toBeUndefined();
    expect(pool.byCookie("cookie-a")).toBeUndefined();
  });

  test("what failed last is avoided while there is another", () => {
    const { pool, nodes } = poolOf(["a", "b"]);
    nodes[1].connections = 50;
    expect(chosen(pool, 0, nodes[0])).toBe("b");
    nodes[1].health = "down";
    expect(chosen(pool, 0, nodes[0])).toBe("a");
  });

  test("ramp: a node that comes later fills as its time goes, not at once", () => {
    const { pool, nodes } = poolOf(["a"], { rampMs: 10_000, nodeConnectionsMax: 0 });
    const b = node("b");
    nodes[0].connections = 1000;
    pool.addNode(b);
    pool.nodeBecameAvailable(b, 100_000);
    const countAt = (ms: number) => {
      for (let each = 0; each < 5000; each++) {
        const choice = pool.choose(100_000 + ms);
        if (choice !== b) break;
        pool.acquire(b);
      }
      return b.connections;
    };
    const counts = [0, 1000, 5000, 9000, 10_000].map(countAt);
    expect(counts[0]).toBeLessThan(30);
    expect(counts[1]).toBeGreaterThan(80);
    expect(counts[1]).toBeLessThan(130);
    expect(counts[2]).toBeGreaterThan(450);
    expect(counts[2]).toBeLessThan(550);
    expect(counts[3]).toBeLessThan(950);
    expect(counts[4]).toBeGreaterThanOrEqual(1000);
  });
});
