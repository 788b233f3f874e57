// The pure choosers and counters of the lb: pool, backlog, queue, health, membership, admission,
// cookie, trust.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Admission } from "../../src/lb/accept/admission.ts";
import { setsCookie, splitCookie } from "../../src/lb/http/cookie.ts";
import { HttpFault } from "../../src/lb/http/faults.ts";
import { cookieValue, viaName } from "../../src/lb/http/keyed.ts";
import { parseTrust, plainAddress } from "../../src/lb/net/trust.ts";
import { Backlog } from "../../src/lb/upstreams/backlog.ts";
import { Dispatcher, type Lease, type Waiter } from "../../src/lb/upstreams/dispatch.ts";
import { HealthRecord } from "../../src/lb/upstreams/health.ts";
import { Membership, REFILL_MS, sumCounts } from "../../src/lb/upstreams/membership.ts";
import { Pool, PoolNode } from "../../src/lb/upstreams/pool.ts";
import type { Member } from "../../src/wire/relay-messages.ts";

const node = (id: string) => new PoolNode(id, { host: "127.0.0.1", port: 1 }, `cookie-${id}`);

function poolOf(ids: readonly string[], options = { rampMs: 0, nodeConnectionsMax: 0 }) {
  const pool = new Pool(options);
  const nodes = ids.map(node);
  for (const each of nodes) {
    pool.addNode(each);
    pool.nodeBecameAvailable(each, 0);
  }
  return { pool, nodes };
}

const chosen = (pool: Pool, nowMs = 0, avoid?: PoolNode) => {
  const choice = pool.choose(nowMs, avoid);
  return typeof choice === "string" ? choice : choice.id;
};

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

describe("the backlog", () => {
  test("never counts less than what is truly unaccepted, and nothing once all is answered", () => {
    const events = fc.array(fc.constantFrom("dial", "fail", "open", "accept", "answer"), {
      maxLength: 200,
    });
    fc.assert(
      fc.property(events, fc.nat(), (all, seed) => {
        const backlog = new Backlog();
        const opened: { place: number; accepted: boolean; answered: boolean }[] = [];
        let dialing = 0;
        all.forEach((event, at) => {
          if (event === "dial") {
            backlog.dial();
            dialing++;
          } else if (event === "fail" && dialing > 0) {
            backlog.dialFailed();
            dialing--;
          } else if (event === "open" && dialing > 0) {
            opened.push({ place: backlog.dialOpened(), accepted: false, answered: false });
            dialing--;
          } else if (event === "accept") {
            const next = opened.find(({ accepted }) => !accepted);
            if (next !== undefined) next.accepted = true;
          } else if (event === "answer") {
            const ready = opened.filter(({ accepted, answered }) => accepted && !answered);
            const one = ready[(seed + at) % Math.max(1, ready.length)];
            if (one === undefined) return;
            one.answered = true;
            backlog.answered(one.place);
          }
          expect(backlog.unaccepted).toBeGreaterThanOrEqual(
            dialing + opened.filter(({ accepted }) => !accepted).length,
          );
        });
        for (const { place } of opened) backlog.answered(place);
        expect(backlog.unaccepted).toBe(dialing);
      }),
    );
  });
});

describe("the queue", () => {
  const waiterFor = (stickTo?: PoolNode) => {
    const waiter: Waiter & { lease?: Lease; fault?: HttpFault } = {
      stickTo,
      avoid: undefined,
      nodeAssigned(lease) {
        waiter.lease = lease;
      },
      dispatchRefused(fault) {
        waiter.fault = fault;
      },
    };
    return waiter;
  };

  test("first come, first served; the sticky wait for their own node and hold nobody up", () => {
    const { pool, nodes } = poolOf(["a", "b"], { rampMs: 0, nodeConnectionsMax: 1 });
    const dispatcher = new Dispatcher(
      pool,
      3,
      () => 0,
      () => {},
    );
    const [one, two] = [waiterFor(), waiterFor()];
    for (const waiter of [one, two]) dispatcher.dispatch(waiter);
    const [sticky, third, fourth, surplus] = [
      waiterFor(nodes[0]),
      waiterFor(),
      waiterFor(),
      waiterFor(),
    ];
    for (const waiter of [sticky, third, fourth, surplus]) dispatcher.dispatch(waiter);
    expect(dispatcher.waiting).toBe(3);
    expect(surplus.fault?.status).toBe(503);
    two.lease?.release();
    expect(sticky.lease).toBeUndefined();
    expect(third.lease?.node).toBe(nodes[1]);
    one.lease?.release();
    expect(sticky.lease?.node).toBe(nodes[0]);
    dispatcher.withdraw(fourth);
    third.lease?.release();
    expect(fourth.lease).toBeUndefined();
    expect(dispatcher.waiting).toBe(0);
  });

  test("a lease is given back once", () => {
    const { pool, nodes } = poolOf(["a"]);
    const dispatcher = new Dispatcher(
      pool,
      1,
      () => 0,
      () => {},
    );
    const waiter = waiterFor();
    dispatcher.dispatch(waiter);
    expect(nodes[0].connections).toBe(1);
    for (let times = 0; times < 3; times++) waiter.lease?.release();
    expect(nodes[0].connections).toBe(0);
  });

  test("when the last node goes, those that wait are told", () => {
    const { pool, nodes } = poolOf(["a"], { rampMs: 0, nodeConnectionsMax: 1 });
    const dispatcher = new Dispatcher(
      pool,
      5,
      () => 0,
      () => {},
    );
    dispatcher.dispatch(waiterFor());
    const [waiting, sticky] = [waiterFor(), waiterFor(nodes[0])];
    for (const waiter of [waiting, sticky]) dispatcher.dispatch(waiter);
    nodes[0].health = "down";
    dispatcher.serveQueue();
    expect([waiting.fault?.status, sticky.fault?.status]).toEqual([503, 503]);
    expect(dispatcher.waiting).toBe(0);
  });

  test("many at once are taken on over several turns, in order, and are not refused for want of a queue", () => {
    const { pool, nodes } = poolOf(["a"], { rampMs: 0, nodeConnectionsMax: 30 });
    const turns: (() => void)[] = [];
    const dispatcher = new Dispatcher(
      pool,
      0,
      () => 0,
      (begin) => turns.push(begin),
    );
    const waiters = Array.from({ length: 40 }, () => waiterFor());
    for (const waiter of waiters) dispatcher.dispatch(waiter);
    const gone = waiters[10];
    dispatcher.withdraw(gone);
    const taken: number[] = [];
    for (let begin = turns.shift(); begin !== undefined; begin = turns.shift()) {
      taken.push(nodes[0].connections);
      begin();
    }
    expect(taken).toEqual([8, 16, 24, 30]);
    const served = waiters.filter((waiter) => waiter !== gone);
    expect(served.map(({ lease }) => lease !== undefined)).toEqual(served.map((_, at) => at < 30));
    expect(served.slice(30).every(({ fault }) => fault?.status === 503)).toBe(true);
    expect(dispatcher.waiting).toBe(0);
  });

  test("who waits for a node is served before those that come, and within what a turn may give", () => {
    const { pool, nodes } = poolOf(["a"], { rampMs: 0, nodeConnectionsMax: 8 });
    const turns: (() => void)[] = [];
    const dispatcher = new Dispatcher(
      pool,
      100,
      () => 0,
      (begin) => turns.push(begin),
    );
    const first = Array.from({ length: 8 }, () => waiterFor());
    for (const waiter of first) dispatcher.dispatch(waiter);
    turns.shift()?.();
    const waiting = Array.from({ length: 8 }, () => waiterFor());
    for (const waiter of waiting) dispatcher.dispatch(waiter);
    for (const waiter of first) waiter.lease?.release();
    expect(waiting.every(({ lease }) => lease !== undefined)).toBe(true);
    expect(nodes[0].connections).toBe(8);
    const late = waiterFor();
    waiting[0].lease?.release();
    dispatcher.dispatch(late);
    expect(late.lease).toBeUndefined();
    turns.shift()?.();
    expect(late.lease).toBeDefined();
  });
});

describe("health", () => {
  test("rises and falls by runs of checks", () => {
    const record = new HealthRecord({ rise: 2, fall: 2 });
    expect(record.checked("unreachable")).toBe("up");
    expect(record.checked("well")).toBe("up");
    expect(record.checked("unwell")).toBe("up");
    expect(record.checked("unwell")).toBe("failing");
    expect(record.checked("unreachable")).toBe("down");
    expect(record.checked("well")).toBe("failing");
    expect(record.checked("well")).toBe("up");
    expect(record.refused()).toBe("down");
    expect(record.checked("well")).toBe("failing");
    expect(record.checked("unwell")).toBe("failing");
    expect(record.checked("well")).toBe("failing");
    expect(record.checked("well")).toBe("up");
  });
});

const member = (role: "node" | "lb", id: string, more: Partial<Member> = {}): Member => ({
  role,
  id,
  address: `unix:/${id}`,
  state: "up",
  connections: 0,
  counts: {},
  ...more,
});
const ids = (membership: Membership) =>
  membership
    .nodes()
    .map(({ id }) => id)
    .sort();

describe("membership", () => {
  test("a relay that is lost, or back and still filling, keeps what was known; then its word counts", () => {
    const membership = new Membership("lb-1");
    membership.welcomed("r1", 60_000, 0);
    membership.registry("r1", [member("node", "a"), member("node", "b")], 0);
    membership.lost("r1");
    expect(ids(membership)).toEqual(["a", "b"]);
    membership.expire(1_000_000);
    expect(ids(membership)).toEqual(["a", "b"]);
    membership.welcomed("r1", 10, 1_000_000);
    membership.registry("r1", [], 1_000_000);
    expect(ids(membership)).toEqual(["a", "b"]);
    membership.registered("r1", member("node", "a"));
    membership.expire(1_000_000 + REFILL_MS - 11);
    expect(ids(membership)).toEqual(["a", "b"]);
    membership.expire(1_000_000 + REFILL_MS);
    expect(ids(membership)).toEqual(["a"]);
  });

  test("a relay that never restarted is believed at once when its link is back", () => {
    const membership = new Membership("lb-1");
    membership.welcomed("r1", 60_000, 0);
    membership.registry("r1", [member("node", "a"), member("node", "b")], 0);
    membership.lost("r1");
    membership.welcomed("r1", 90_000, 30_000);
    membership.registry("r1", [member("node", "b")], 30_000);
    expect(ids(membership)).toEqual(["b"]);
  });

  test("what one living relay saw leave is not kept alive by the memory of another", () => {
    const membership = new Membership("lb-1");
    for (const relay of ["r1", "r2"]) {
      membership.welcomed(relay, 60_000, 0);
      membership.registry(relay, [member("node", "a"), member("node", "b")], 0);
    }
    membership.lost("r1");
    membership.departed("r2", "node", "b");
    expect(ids(membership)).toEqual(["a"]);
  });

  test("nor by the memory of one that is lost only afterwards; one that came back meanwhile is remembered", () => {
    const membership = new Membership("lb-1");
    for (const relay of ["r1", "r2"]) {
      membership.welcomed(relay, 60_000, 0);
      membership.registry(
        relay,
        [member("node", "a"), member("node", "b"), member("node", "c")],
        0,
      );
    }
    membership.departed("r2", "node", "b");
    membership.departed("r2", "node", "c");
    membership.expire(1000);
    membership.registered("r1", member("node", "c"));
    membership.lost("r1");
    expect(ids(membership)).toEqual(["a", "c"]);
  });

  test("the latest word about a node counts, whichever relay brought it", () => {
    const membership = new Membership("lb-1");
    membership.registered("r1", member("node", "a"));
    membership.registered("r2", member("node", "a", { state: "draining" }));
    expect(membership.nodes().map(({ state }) => state)).toEqual(["draining"]);
    membership.registered("r1", member("node", "a"));
    expect(membership.nodes().map(({ state }) => state)).toEqual(["up"]);
  });

  test("other lbs are counted once each, and only while they are linked", () => {
    const membership = new Membership("lb-1");
    membership.registry(
      "r1",
      [member("lb", "lb-1", { counts: { a: 9 } }), member("lb", "lb-2", { counts: { a: 2 } })],
      0,
    );
    membership.registered("r2", member("lb", "lb-2", { counts: { a: 3, b: 1 } }));
    membership.registered("r2", member("lb", "lb-3", { counts: { a: 1 } }));
    expect(Object.fromEntries(sumCounts(membership.otherLbs()))).toEqual({ a: 4, b: 1 });
    membership.lost("r2");
    expect(Object.fromEntries(sumCounts(membership.otherLbs()))).toEqual({ a: 2 });
  });
});

describe("admission", () => {
  test("seats in all and per address, given back once", () => {
    const admission = new Admission(
      { connectionsMax: 3, addressConnectionsMax: 2, connectionsPerSecond: 0 },
      0,
    );
    const [first, second] = [admission.admit("x", 0), admission.admit("x", 0)];
    const refused = admission.admit("x", 0);
    expect(refused instanceof HttpFault && refused.status).toBe(429);
    expect(admission.admit("y", 0)).not.toBeInstanceOf(HttpFault);
    const full = admission.admit("z", 0);
    expect(full instanceof HttpFault && full.status).toBe(503);
    for (const seat of [first, first, second]) if (!(seat instanceof HttpFault)) seat.release();
    expect(admission.connections).toBe(1);
  });

  test("a token bucket: a burst of one second's worth, then the rate", () => {
    const admission = new Admission(
      { connectionsMax: 1000, addressConnectionsMax: 0, connectionsPerSecond: 10 },
      0,
    );
    const let_in = (nowMs: number, tries: number) =>
      Array.from({ length: tries }, () => admission.admit(undefined, nowMs)).filter(
        (seat) => !(seat instanceof HttpFault),
      ).length;
    expect(let_in(0, 50)).toBe(10);
    expect(let_in(500, 50)).toBe(5);
    expect(let_in(10_000, 50)).toBe(10);
  });
});

describe("the cookie", () => {
  test("is taken out, whatever is around it", () => {
    const pair = fc.tuple(
      fc.stringMatching(/^[a-zA-Z]{1,6}$/),
      fc.stringMatching(/^[a-zA-Z0-9=]{0,8}$/),
    );
    fc.assert(
      fc.property(
        fc.array(pair, { maxLength: 5 }),
        fc.nat(5),
        fc.option(fc.stringMatching(/^\w{0,8}$/)),
        (pairs, at, value) => {
          const others = pairs
            .filter(([name]) => name !== "TUTTI")
            .map(([name, given]) => `${name}=${given}`);
          const all = value === null ? others : others.toSpliced(at, 0, `TUTTI=${value}`);
          const { sticky, rest } = splitCookie(all.join("; "), "TUTTI");
          expect(sticky).toBe(value ?? undefined);
          expect(rest).toBe(others.join("; "));
        },
      ),
    );
  });

  test("the first value counts, all go; names that only contain ours stay", () => {
    expect(splitCookie("TUTTI=1; a=b;TUTTI=2", "TUTTI")).toEqual({ sticky: "1", rest: "a=b" });
    expect(splitCookie("XTUTTI=1; TUTTIX=2; TUTTI", "TUTTI")).toEqual({
      sticky: undefined,
      rest: "XTUTTI=1; TUTTIX=2; TUTTI",
    });
    expect(splitCookie("TUTTI=1", undefined)).toEqual({ sticky: undefined, rest: "TUTTI=1" });
    expect(setsCookie("TUTTI=x; Path=/", "TUTTI")).toBe(true);
    expect(setsCookie("a=TUTTI", "TUTTI")).toBe(false);
  });

  test("is derived from key and node, and tells neither", () => {
    expect(cookieValue("k", "node-1")).toBe(cookieValue("k", "node-1"));
    expect(cookieValue("k", "node-1")).not.toBe(cookieValue("k", "node-2"));
    expect(cookieValue("k", "node-1")).not.toBe(cookieValue("l", "node-1"));
    expect(cookieValue("k", "node-1")).toMatch(/^[\w-]{22}$/);
    expect(viaName("k")).not.toBe(viaName("l"));
  });
});

test("trust: exactly the given networks", () => {
  const trust = parseTrust(["10.0.0.0/8", "192.168.1.7", "2001:db8::/32"]);
  for (const address of ["10.0.0.1", "10.255.255.255", "192.168.1.7", "2001:db8::1"])
    expect(trust(address)).toBe(true);
  for (const address of ["11.0.0.1", "192.168.1.8", "2001:db9::1", "::1", "", "10.0.0.1.evil"])
    expect(trust(address)).toBe(false);
  expect(parseTrust([])("127.0.0.1")).toBe(false);
  for (const wrong of ["x", "10.0.0.0/33", "10.0.0.0/", "::/129", "10.0.0/8", "10.0.0.0/-1", "/8"])
    expect(() => parseTrust([wrong])).toThrow("--trust");
  expect(plainAddress("::ffff:10.0.0.1")).toBe("10.0.0.1");
  expect(plainAddress("::1")).toBe("::1");
});
