// Races that are too rare to wait for, each played out step by step on the real cores.

import { beforeEach, expect, test } from "bun:test";
import { Rules } from "../../src/node/app/rules.ts";
import { CACHED_MAX } from "../../src/node/channels/channels.ts";
import { SteppedNode, SteppedRelay, SteppedSocket } from "./stepped.ts";

let nowMs = 0;
let relay: SteppedRelay;
let ahead: SteppedNode;
let behind: SteppedNode;
let connections = 0;

beforeEach(async () => {
  nowMs = 1_000_000;
  const rules = new Rules({
    channels: { room: { history: { size: 100 } }, none: { history: { size: 0 } } },
  });
  relay = new SteppedRelay(() => nowMs);
  [ahead, behind] = ["ahead", "behind"].map(
    (name) => new SteppedNode(name, relay, rules, () => nowMs),
  );
  await null;
  settle();
});

/** Everything that is on its way arrives; `only`: on this node's link. */
function settle(only?: SteppedNode): void {
  for (let n = 0; n < 10; n++)
    for (const node of only === undefined ? [ahead, behind] : [only]) {
      node.link?.deliverToRelay(100);
      node.link?.deliverToNode(100);
    }
}

const connect = (node: SteppedNode) => {
  const socket = new SteppedSocket(node, `client-${++connections}`);
  socket.read();
  return socket;
};
const readAll = (socket: SteppedSocket) => {
  const messages: Record<string, unknown>[] = [];
  for (let message = socket.read(); message !== undefined; message = socket.read())
    messages.push(message);
  return messages;
};
const offsets = (messages: Record<string, unknown>[]) =>
  messages.filter(({ type }) => type === "message").map(({ offset }) => offset);

function publish(node: SteppedNode, channel: string, count = 1): void {
  const socket = connect(node);
  for (let n = 0; n < count; n++) socket.write({ type: "publish", channel, data: n });
  settle(node);
  socket.close();
}

/** Subscribes at a node that has the channel open, and returns the position. */
function follow(node: SteppedNode, channel: string): { epoch: string; offset: number } {
  const socket = connect(node);
  socket.write({ type: "subscribe", channel });
  settle();
  const [{ position }] = readAll(socket);
  return Object(position);
}

test("a position above what a node knows is not above what the relay knows: the node asks (R4)", () => {
  const { epoch } = follow(behind, "room");
  publish(ahead, "room", 5);
  // The publications are on their way to the node when a client that has seen them elsewhere comes.
  const client = connect(behind);
  client.write({ type: "subscribe", channel: "room", since: { epoch, offset: 4 } });
  expect(readAll(client)).toEqual([]);
  settle();
  const [ok, ...rest] = readAll(client);
  expect(ok).toMatchObject({ type: "ok", recovered: true, position: { offset: 4 } });
  expect(offsets(rest)).toEqual([5]);
});

test("an answer that the relay gave before a reader came says nothing about what that reader has seen", () => {
  publish(ahead, "room", 3);
  const { epoch } = follow(ahead, "room");
  const first = connect(behind);
  first.write({ type: "subscribe", channel: "room", since: { epoch, offset: 1 } });
  settle(behind);
  expect(offsets(readAll(first))).toEqual([2, 3]);
  const old = connect(behind);
  old.write({ type: "subscribe", channel: "room", since: { epoch, offset: 0 } });
  behind.link?.deliverToRelay(100);
  // The relay has answered from a top of 3; the answer is on its way.
  publish(ahead, "room", 2);
  const fresh = connect(behind);
  fresh.write({ type: "subscribe", channel: "room", since: { epoch, offset: 5 } });
  settle();
  expect(offsets(readAll(old))).toEqual([1, 2, 3, 4, 5]);
  const [ok] = readAll(fresh);
  expect(ok).toMatchObject({ type: "ok", recovered: true, position: { offset: 5 } });
  publish(ahead, "room");
  settle();
  expect(offsets(readAll(fresh))).toEqual([6]);
});

test("publications that arrive while a reader waits for its history come behind it, once (R1, R2)", () => {
  const { epoch } = follow(ahead, "room");
  publish(ahead, "room", 3);
  const reader = connect(behind);
  reader.write({ type: "subscribe", channel: "room", since: { epoch, offset: 0 } });
  for (let n = 0; n < 3; n++) {
    behind.link?.deliverToRelay(1);
    publish(ahead, "room");
    behind.link?.deliverToNode(1);
    publish(ahead, "room");
  }
  settle();
  expect(offsets(readAll(reader))).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

test("a relay that restarts between pages changes nothing (R9)", async () => {
  const { epoch } = follow(ahead, "room");
  publish(ahead, "room", 5);
  const reader = connect(behind);
  reader.write({ type: "subscribe", channel: "room", since: { epoch, offset: 1 } });
  behind.link?.deliverToRelay(100);
  behind.link?.deliverToNode(100);
  behind.link?.deliverToRelay(100);
  relay.kill();
  relay.start();
  for (const node of [ahead, behind]) node.redial();
  await null;
  settle();
  const [ok, ...rest] = readAll(reader);
  expect(ok).toMatchObject({ recovered: true });
  expect(offsets(rest)).toEqual([2, 3, 4, 5]);
});

test("an empty channel is resumed, and a channel without history from its top, without a gap (R5)", () => {
  const empty = follow(ahead, "room");
  const none = follow(ahead, "none");
  publish(ahead, "none", 2);
  for (const [channel, since] of [
    ["room", empty],
    ["none", { ...none, offset: 2 }],
  ] as const) {
    const reader = connect(behind);
    reader.write({ type: "subscribe", channel, since });
    settle();
    expect(readAll(reader)[0]).toMatchObject({ recovered: true, position: since });
    publish(ahead, channel);
    settle();
    expect(offsets(readAll(reader))).toEqual([since.offset + 1]);
  }
});

test("a thousand readers that come back together cost the relay a handful of questions", () => {
  const { epoch } = follow(ahead, "room");
  publish(ahead, "room", 50);
  const readers = Array.from({ length: 1000 }, (_, n) => {
    const reader = connect(behind);
    reader.write({ type: "subscribe", channel: "room", since: { epoch, offset: n % 50 } });
    return reader;
  });
  let asked = 0;
  for (let n = 0; n < 20; n++) {
    asked += behind.link?.toRelay.length ?? 0;
    settle(behind);
  }
  expect(asked).toBeLessThan(5);
  for (const [n, reader] of readers.entries())
    expect(offsets(readAll(reader))).toHaveLength(50 - (n % 50));
});

test("who wants the newest and who wants what follows a position are not given each other's answer", () => {
  const { epoch } = follow(ahead, "room");
  publish(ahead, "room", 50);
  const readers = [{ since: { epoch, offset: 48 } }, { last: 10 }, { last: 3 }].map((from) => {
    const reader = connect(behind);
    reader.write({ type: "subscribe", channel: "room", ...from });
    return reader;
  });
  settle();
  expect(readers.map((reader) => offsets(readAll(reader)).length)).toEqual([2, 10, 3]);
});

test("a channel that nobody uses is closed, and opened again by whoever comes", () => {
  const socket = connect(behind);
  socket.write({ type: "subscribe", channel: "room" });
  settle();
  const [{ position }] = readAll(socket);
  behind.hub.sweep();
  expect(behind.hub.size).toBe(2);
  socket.close();
  nowMs += 29_000;
  behind.hub.sweep();
  expect(behind.hub.size).toBe(2);
  nowMs += 2000;
  behind.hub.sweep();
  expect(behind.hub.size).toBe(1);
  settle();
  publish(ahead, "room", 2);
  const again = connect(behind);
  again.write({ type: "subscribe", channel: "room", since: position });
  settle();
  expect(offsets(readAll(again))).toEqual([1, 2]);
});

test("a channel where nothing was to be waited for is looked after again once somebody waits", () => {
  publish(ahead, "room", 3);
  const [reader, other] = [connect(behind), connect(behind)];
  reader.write({ type: "subscribe", channel: "room" });
  settle();
  expect(readAll(reader)).toMatchObject([{ type: "ok" }]);
  // The relay answers nothing any more.
  const isToldBusy = (asker: SteppedSocket, question: Record<string, unknown>) => {
    behind.hub.sweep();
    asker.write({ ...question, id: "q", channel: "room" });
    nowMs += 10_001;
    behind.hub.sweep();
    expect(readAll(asker)).toMatchObject([{ type: "error", id: "q", code: "busy" }]);
  };
  isToldBusy(reader, { type: "history" });
  isToldBusy(other, { type: "subscribe", last: 2 });
});

test("what all channels remember together is bounded, whatever each may", () => {
  const payload = JSON.stringify("x".repeat(64 * 1024));
  for (let c = 0; c < 90; c++) {
    const route = behind.hub.routeOf("room");
    const channel = route && behind.hub.open(`big-${c}`, route, true);
    channel?.channelOpened({
      type: "opened",
      channel: channel.name,
      id: 1000 + c,
      epoch: "e",
      first: 1,
      top: 0,
      trimmed: "expired",
      gap: null,
      missed: 0,
      members: 0,
    });
    for (let offset = 1; offset <= 15; offset++)
      channel?.publicationArrived(offset, nowMs, payload);
  }
  expect(behind.hub.cachedSize).toBeLessThanOrEqual(CACHED_MAX);
  expect(behind.hub.cachedSize).toBeGreaterThan(CACHED_MAX / 4);
});

test("while a batch waits: who joins hears nothing twice, who leaves hears what was said before, and the order stays", () => {
  const listeners = Array.from({ length: 30 }, () => connect(ahead));
  for (const each of listeners) each.write({ type: "subscribe", channel: "room" });
  settle();
  for (const each of listeners) readAll(each);
  publish(ahead, "room");
  expect(offsets(readAll(listeners[0]))).toEqual([1]);
  nowMs++;
  publish(ahead, "room", 2);
  expect(offsets(readAll(listeners[0]))).toEqual([]);
  expect(ahead.hub.flush()).toBe(true);

  const late = connect(ahead);
  late.write({ type: "subscribe", channel: "room", last: 3 });
  expect(offsets(readAll(late))).toEqual([1, 2, 3]);
  expect(offsets(readAll(listeners[0]))).toEqual([2, 3]);
  nowMs++;
  publish(ahead, "room");
  listeners[1].write({ type: "unsubscribe", channel: "room" });
  expect(offsets(readAll(listeners[1]))).toEqual([1, 2, 3, 4]);
  nowMs++;
  publish(ahead, "room");
  expect(ahead.hub.flush()).toBe(true);
  nowMs += 50;
  expect(ahead.hub.flush()).toBe(false);
  expect(offsets(readAll(late))).toEqual([4, 5]);
  expect(offsets(readAll(listeners[1]))).toEqual([]);
});
