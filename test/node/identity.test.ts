// Whose a producer is, and that nobody's stands for another's.

import { expect, test } from "bun:test";
import { Identities, ownProducer } from "../../src/node/uplink/identity.ts";
import { OWNERS, ownerAmong } from "../../src/wire/frame.ts";

const identities = new Identities("a secret");
const ownerOf = ({ high }: { high: number }) => ownerAmong(high);

test("each name, key, user and channel is another, and the same on every node", () => {
  const all = (made: Identities) => [
    made.producer("ann", "phone", "a"),
    made.producer("ann", "phone", "b"),
    made.producer("ann", "laptop", "a"),
    made.producer("bob", "phone", "a"),
    made.producer(undefined, "phone", "a"),
    made.key("ann", "a", "phone"),
    made.key(undefined, "a", "phone"),
    made.key(undefined, "b", "phone"),
    made.appKey("a", "phone"),
  ];
  expect(new Set(all(identities).map(({ high, low }) => `${high}:${low}`)).size).toBe(9);
  expect(all(new Identities("a secret"))).toEqual(all(identities));
  expect(all(new Identities("another"))[0]).not.toEqual(all(identities)[0]);
});

test("all that one user publishes has one owner, and what the app publishes another", () => {
  const anns = ["a", "b"].flatMap((channel) => [
    identities.producer("ann", "phone", channel),
    identities.producer("ann", "laptop", channel),
    identities.key("ann", channel, "k"),
  ]);
  expect(new Set(anns.map(ownerOf)).size).toBe(1);
  const apps = [identities.appKey("a", "k"), ownProducer(0xffff_ffff, 7), ownProducer(4095, 7)];
  expect(apps.map(ownerOf)).toEqual([0, 0, 0]);
  const keys = ["a", "b"].map((channel) => identities.key(undefined, channel, channel));
  expect(new Set(keys.map(ownerOf)).size).toBe(1);
  const others = Array.from({ length: 2000 }, (_, n) =>
    ownerOf(identities.producer(undefined, `name ${n}`, "a")),
  );
  expect(others.every((owner) => owner > 0 && owner < OWNERS)).toBe(true);
  expect(new Set(others).size).toBeGreaterThan(1000);
});
