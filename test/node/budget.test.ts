// What one client may ask for, and that it has no more when it comes back.

import { describe, expect, test } from "bun:test";
import { limitsOf } from "../../src/node/app/limits.ts";
import { Budget, Budgets } from "../../src/node/session/budget.ts";
import type { ClientMessage } from "../../src/wire/client-messages.ts";

const MIB = 1024 * 1024;
const publish = (channel: string): ClientMessage => ({ type: "publish", channel, data: 1 });
const history: ClientMessage = { type: "history", channel: "a" };

/** How many of these requests are taken before one has to wait. */
function taken(budget: Budget, message: (n: number) => ClientMessage, bytes: number, nowMs = 0) {
  let count = 0;
  while (count < 5000 && budget.take(message(count), bytes, nowMs)) count++;
  return count;
}

describe("a client's budget", () => {
  test("bytes of requests are taken at a rate, and one that is longer than it too", () => {
    const budget = new Budget(limitsOf({ requestBytesPerSecond: 100_000 }), 0);
    expect(taken(budget, () => publish("a"), 60_000)).toBe(2);
    expect(taken(budget, () => publish("a"), 60_000, 1000)).toBe(2);
    expect(taken(budget, () => publish("a"), 60_000, 1100)).toBe(0);
  });

  test("what it asks to be sent is paid for, before the answers are there as well", () => {
    const budget = new Budget(limitsOf({}), 0);
    let asked = 0;
    while (budget.take(history, 100, 0)) {
      budget.reserveAnswer();
      asked++;
    }
    expect(asked).toBe(16);
    for (let n = 0; n < asked; n++) budget.answerArrived(MIB / 4, MIB);
    expect(budget.take(history, 100, 2000)).toBe(false);
    expect(budget.take(publish("a"), 100, 2000)).toBe(true);
    expect(budget.take(history, 100, 4000)).toBe(true);
    expect(budget.reserveAnswer()).toBe(MIB);
  });

  test("channels that it has not used before come at a rate; those that it uses are free", () => {
    const budget = new Budget(limitsOf({ subscriptions: 5 }), 0);
    expect(taken(budget, (n) => publish(`new-${n}`), 1)).toBe(10);
    expect(budget.take({ type: "subscribe", channel: "other" }, 1, 0)).toBe(false);
    expect(budget.take({ type: "subscribe", channel: "new-3" }, 1, 0)).toBe(true);
    expect(taken(budget, (n) => publish(`more-${n}`), 1, 500)).toBe(5);
  });

  test("who has spent it and comes back has no other, by user or else by address", () => {
    const budgets = new Budgets(limitsOf({ requestsPerSecond: 10 }));
    const first = budgets.open(undefined, "1.2.3.4", 0);
    expect(taken(first, () => publish("a"), 1)).toBe(10);
    budgets.close(undefined, "1.2.3.4", first, 0);
    expect(taken(budgets.open(undefined, "1.2.3.4", 100), () => publish("a"), 1, 100)).toBe(1);
    expect(taken(budgets.open("ann", "1.2.3.4", 0), () => publish("a"), 1)).toBe(10);
    expect(taken(budgets.open(undefined, "1.2.3.5", 0), () => publish("a"), 1)).toBe(10);
    expect(taken(budgets.open(undefined, "1.2.3.4", 2000), () => publish("a"), 1, 2000)).toBe(10);
  });
});
