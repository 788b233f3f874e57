// What one session publishes: its place in the order, and what is unanswered at each relay.

import { expect, test } from "bun:test";
import { PublishWindow } from "../../src/node/session/publish-window.ts";

const [near, away] = [{ isUp: true }, { isUp: false }];
const uplinkOf = (channel: string) => (channel.startsWith("away") ? away : near);
const arriving =
  (window: PublishWindow) =>
  (seq: number, after?: number, channel = "a") =>
    window.publicationArrived({ type: "publish", channel, data: 1, seq, after });

test("where a client does not say what is before a publication, it is the one that arrived before", () => {
  const window = new PublishWindow({ uplinkOf }, 256);
  const arrives = arriving(window);
  expect([arrives(5), arrives(6), arrives(9)]).toEqual([0, 5, 6]);
  expect(arrives(10, undefined, "b")).toBe(0);
  // Sent again: the client sends the oldest first, and the others behind it.
  expect([arrives(6), arrives(9), arrives(11)]).toEqual([0, 6, 9]);
  // One that is refused for good is not waited for.
  window.publicationRefused("a", 11, 9);
  expect(arrives(12)).toBe(9);
  expect(arrives(13, 7)).toBeUndefined();
  expect(arrives(14)).toBe(12);
});

test("what is unanswered at one relay holds up no other's, and waits only while that relay is there", () => {
  const window = new PublishWindow({ uplinkOf }, 2);
  const [a, b, far] = ["a", "b", "away"].map((name) => window.channel(name));
  for (const { relay } of [a, b, far, far]) window.publicationSent(relay);
  expect(["a", "b", "c", "away"].map((name) => window.mustWait(name))).toEqual([
    true,
    true,
    true,
    false,
  ]);
  expect([window.hasRoom(a.relay), window.hasRoom(far.relay), window.inFlight]).toEqual([
    false,
    false,
    4,
  ]);
  window.publicationAnswered(b.relay);
  expect([window.mustWait("a"), window.hasRoom(far.relay)]).toEqual([false, false]);
  for (let n = 0; n < 1000; n++) window.channel(`channel ${n}`);
  expect(window.channel("a")).not.toBe(a);
  expect(window.channel("a").relay).toBe(a.relay);
});
