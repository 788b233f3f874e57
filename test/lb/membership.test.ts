// What the registries of several relays say together.

import { describe, expect, test } from "bun:test";
import { Membership, REFILL_MS, sumCounts } from "../../src/lb/upstreams/membership.ts";
import type { Member } from "../../src/wire/relay-messages.ts";

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
