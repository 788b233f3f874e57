// What waits for all clients of a node together, and who is ended when it is too much.

import { expect, test } from "bun:test";
import { Rules } from "../../src/node/app/rules.ts";
import { Backlog, type Receiving } from "../../src/node/session/backlog.ts";
import { SteppedNode, SteppedRelay, SteppedSocket } from "./stepped.ts";

class Client implements Receiving {
  bytes: number;
  hasRead: boolean;
  isCutOff = false;

  constructor(bytes: number, hasRead: boolean) {
    this.bytes = bytes;
    this.hasRead = hasRead;
  }

  lookAtUnsent() {
    return { bytes: this.bytes, hasRead: this.hasRead };
  }

  cutOff(): void {
    this.isCutOff = true;
  }
}

test("a look is due once an eighth of the budget was given", () => {
  const backlog = new Backlog(800);
  backlog.given(99);
  expect(backlog.isDue).toBe(false);
  backlog.given(1);
  expect(backlog.isDue).toBe(true);
  backlog.relieve([]);
  expect(backlog.isDue).toBe(false);
});

test("within the budget nobody is ended", () => {
  const clients = [new Client(500, false), new Client(300, false)];
  new Backlog(800).relieve(clients);
  expect(clients.map(({ isCutOff }) => isCutOff)).toEqual([false, false]);
});

test("beyond it those who read nothing go first, of them those for whom most waits, until half is left", () => {
  const [good, large, small, idle] = [
    new Client(300, true),
    new Client(400, false),
    new Client(200, false),
    new Client(0, false),
  ];
  new Backlog(800).relieve([good, small, large, idle]);
  expect([large.isCutOff, small.isCutOff, good.isCutOff, idle.isCutOff]).toEqual([
    true,
    true,
    false,
    false,
  ]);
});

test("who does not read is ended in the turn in which it is given too much, and who reads stays", async () => {
  const DATA = new TextEncoder().encode(JSON.stringify("x".repeat(60_000)));
  const limits = { unsentBytes: 2 * 1024 * 1024 };
  const rules = new Rules({ channels: { room: { batchMs: 0, history: { size: 0 } } }, limits });
  const relay = new SteppedRelay(() => 1_000_000);
  const node = new SteppedNode("node", relay, rules, () => 1_000_000);
  await null;
  const settle = () => {
    for (let n = 0; n < 5; n++) {
      node.link?.deliverToRelay(100);
      node.link?.deliverToNode(100);
    }
  };
  settle();
  const stalled = Array.from({ length: 40 }, (_, n) => new SteppedSocket(node, `stalled-${n}`));
  const reader = new SteppedSocket(node, "reader");
  for (const socket of [...stalled, reader]) socket.write({ type: "subscribe", channel: "room" });
  settle();
  const publisher = { published: () => {} };
  const channel = node.hub.find("room");
  let heard = 0;
  for (let n = 0; n < 10; n++) {
    expect(channel?.publish(undefined, DATA, publisher)).toBe(true);
    settle();
    const waiting = stalled
      .filter(({ isOpen }) => isOpen)
      .reduce((sum, socket) => sum + socket.getBufferedAmount(), 0);
    expect(waiting).toBeLessThan(2 * limits.unsentBytes);
    for (let message = reader.read(); message !== undefined; message = reader.read())
      if (message.type === "message") heard++;
  }
  expect([heard, reader.isOpen]).toEqual([10, true]);
  expect(stalled.filter(({ isOpen }) => isOpen).length).toBeLessThan(20);
});
