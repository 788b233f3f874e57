// Relays that are killed, stopped, deaf or new: what was acknowledged arrives, once and in order,
// and what cannot is told.

import { expect, setDefaultTimeout, test } from "bun:test";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { eventually, turn } from "../eventually.ts";
import { OPCODES_DROPPED, startDeafProxy } from "./deaf-proxy.ts";
import { type Client, type Message, TestCluster, type TestNode } from "./harness.ts";

setDefaultTimeout(30_000);

const numbers = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, n) => `${from + n}:${from + n}`);
const health = async (node: TestNode) => {
  const answer = await fetch(`http://${node.address}/healthz`);
  const body: { relays: { id: string; delivers: boolean }[] } = await answer.json();
  return { status: answer.status, relays: body.relays };
};
const isLinked = (node: TestNode) => async () => (await health(node)).status === 200;

test("publications go through a relay that is killed: each once, in order, on every node", async () => {
  await using cluster = new TestCluster();
  const relay = await cluster.relay();
  const [a, b] = [await cluster.node([relay]), await cluster.node([relay])];
  const [writer, near, far] = [
    await cluster.client(a),
    await cluster.client(a),
    await cluster.client(b),
  ];
  await writer.ask({ type: "connect", producer: "the writer" });
  for (const reader of [near, far]) await reader.subscribe("room");
  const sent: Promise<Message>[] = [];
  for (let round = 0; round < 3; round++) {
    for (let n = 0; n < 50; n++) {
      const data = sent.length + 1;
      // By seq, by key and by neither, in one order.
      const more = [{ seq: data }, { key: `key ${data}` }, {}][n % 3];
      sent.push(writer.publish("room", data, more));
      // By then some are acknowledged and some are under way; the rest find the relay away.
      if (n === 20) await sent[sent.length - 10];
      if (n === 25) await relay.kill();
      if (n % 10 === 0) await turn();
    }
    await relay.restart();
  }
  const answers = await Promise.all(sent);
  expect(answers.map(({ type, position }) => [type, Object(position).offset])).toEqual(
    answers.map((_, n) => ["ok", n + 1]),
  );
  for (const reader of [near, far])
    expect(await reader.messages("room", 150)).toEqual(numbers(1, 150));
  for (const reader of [near, far])
    expect(reader.log.filter(({ type }) => type === "gap")).toEqual([]);
});

test("while its relay is away a node serves from memory what it can; the rest is answered when the relay is back", async () => {
  await using cluster = new TestCluster();
  const relay = await cluster.relay();
  const node = await cluster.node([relay]);
  const [reader, late] = [await cluster.client(node), await cluster.client(node)];
  const { position } = await reader.subscribe("room");
  for (const n of [1, 2, 3]) await reader.publish("room", n);
  await reader.messages("room", 3);
  await relay.kill();
  const resumed = await late.subscribe("room", { since: position });
  expect(resumed).toMatchObject({ recovered: true, position });
  expect(await late.messages("room", 3)).toEqual(numbers(1, 3));
  const waiting = [
    late.ask({ type: "history", channel: "room" }),
    late.subscribe("another"),
    late.subscribe("room", { since: { epoch: "foreign", offset: 1 } }),
    late.publish("room", 4),
  ];
  expect(await late.ask({ type: "ping" })).toMatchObject({ type: "pong" });
  expect(late.inbox).toEqual([]);
  await relay.restart();
  const [history, another, foreign, published] = await Promise.all(waiting);
  expect(history.data).toBeArrayOfSize(3);
  expect(another).toMatchObject({ type: "ok", position: { offset: 0 } });
  expect(foreign).toMatchObject({ recovered: false, gap: { reason: "epoch" } });
  expect(published).toMatchObject({ type: "ok", position: { offset: 4 } });
  expect(await late.messages("room", 1)).toEqual(["4:4"]);
  expect(await reader.messages("room", 1)).toEqual(["4:4"]);
});

test("a relay that has lost its journal is a new lineage: live readers are told of the gap, and go on", async () => {
  await using cluster = new TestCluster();
  const relay = await cluster.relay();
  const node = await cluster.node([relay]);
  const readers = [await cluster.client(node), await cluster.client(node, { encoding: "msgpack" })];
  const [first] = readers;
  const { position } = await first.subscribe("room");
  await readers[1].subscribe("room");
  for (const n of [1, 2]) await first.publish("room", n);
  await relay.kill();
  rmSync(join(cluster.folder, relay.id), { recursive: true });
  await relay.restart();
  for (const reader of readers) {
    await reader.messages("room", 2);
    const gap = await reader.take(({ type, channel }) => type === "gap" && channel === "room");
    expect(gap).toMatchObject({ reason: "epoch", from: 3, to: 0, position: { offset: 0 } });
    expect(Object(gap.position).epoch).not.toBe(Object(position).epoch);
  }
  await first.publish("room", 1);
  for (const reader of readers) expect(await reader.messages("room", 1)).toEqual(["1:1"]);
});

test("what history lost while a node was cut off is told to its live readers", async () => {
  await using cluster = new TestCluster();
  const relay = await cluster.relay();
  const channels = { room: { history: { size: 2 } } };
  const proxy = startDeafProxy(relay.port);
  cluster.onEnd(() => proxy.stop());
  const [near, cut] = [
    await cluster.node([relay], { channels }),
    await cluster.node([{ ...relay, port: proxy.port }], { channels }),
  ];
  const [writer, reader] = [await cluster.client(near), await cluster.client(cut)];
  await reader.subscribe("room");
  await writer.publish("room", 1);
  await reader.messages("room", 1);
  proxy.cut();
  for (const n of [2, 3, 4, 5]) await writer.publish("room", n);
  proxy.mend();
  expect(await reader.next("gap")).toMatchObject({
    reason: "expired",
    from: 2,
    to: 3,
    position: { offset: 3 },
  });
  expect(await reader.messages("room", 2)).toEqual(["4:4", "5:5"]);
});

test("presence comes back after a relay's restart without anyone seeming to leave", async () => {
  await using cluster = new TestCluster();
  const relay = await cluster.relay();
  const channels = { room: { presence: true } };
  const [a, b] = [
    await cluster.node([relay], { channels }),
    await cluster.node([relay], { channels }),
  ];
  const [one, two] = [await cluster.client(a), await cluster.client(b)];
  for (const client of [one, two]) await client.subscribe("room");
  await one.take(({ type, client }) => type === "join" && client === two.welcome.session);
  await relay.kill();
  await relay.restart();
  // Acknowledged behind the restart: both nodes have the channel open again.
  await Promise.all([one.publish("room", 1), two.publish("room", 2)]);
  const list = (await one.ask({ type: "presence", channel: "room" })).data;
  expect(list).toBeArrayOfSize(2);
  two.close();
  await one.take(({ type, client }) => type === "leave" && client === two.welcome.session);
  expect(one.log.filter(({ type }) => type === "leave")).toHaveLength(1);
});

test("members of a node that went with the relay are gone after a grace", async () => {
  await using cluster = new TestCluster();
  const relay = await cluster.relay();
  const channels = { room: { presence: true } };
  const a = await cluster.node([relay], { channels });
  const proxy = startDeafProxy(relay.port);
  cluster.onEnd(() => proxy.stop());
  const b = await cluster.node([{ ...relay, port: proxy.port }], { channels });
  const [one, two] = [await cluster.client(a), await cluster.client(b)];
  for (const client of [one, two]) await client.subscribe("room");
  await one.take(({ type, client }) => type === "join" && client === two.welcome.session);
  await relay.kill();
  proxy.cut();
  await relay.restart();
  await one.take(({ type, client }) => type === "leave" && client === two.welcome.session);
  expect((await one.ask({ type: "presence", channel: "room" })).data).toEqual([
    { client: one.welcome.session },
  ]);
});

test("of several relays each has its channels; one that is away holds up only those, and health names it", async () => {
  await using cluster = new TestCluster();
  const relays = [await cluster.relay("relay-1"), await cluster.relay("relay-2")];
  const nodes = [await cluster.node(relays), await cluster.node(relays)];
  const [writer, reader] = [await cluster.client(nodes[0]), await cluster.client(nodes[1])];
  const channels = Array.from({ length: 12 }, (_, n) => `room-${n}`);
  for (const channel of channels) await reader.subscribe(channel);
  for (const channel of channels) await writer.publish(channel, 1);
  for (const channel of channels) expect(await reader.messages(channel, 1)).toEqual(["1:1"]);
  expect(await health(nodes[0])).toEqual({
    status: 200,
    relays: [
      { id: "relay-1", delivers: true },
      { id: "relay-2", delivers: true },
    ],
  });
  await relays[1].kill();
  const published = channels.map((channel) => writer.publish(channel, 2));
  await eventually(async () => (await health(nodes[0])).status === 503);
  expect((await health(nodes[0])).relays).toEqual([
    { id: "relay-1", delivers: true },
    { id: "relay-2", delivers: false },
  ]);
  const through = writer.inbox.length;
  expect(through).toBe(0);
  await relays[1].restart();
  expect((await Promise.all(published)).every(({ type }) => type === "ok")).toBe(true);
  for (const channel of channels) expect(await reader.messages(channel, 1)).toEqual(["2:2"]);
  await eventually(isLinked(nodes[0]));
});

test("a link that is up but deaf is noticed by the canary, and dialled anew", async () => {
  await using cluster = new TestCluster();
  const relay = await cluster.relay();
  const proxy = startDeafProxy(relay.port);
  cluster.onEnd(() => proxy.stop());
  const node = await cluster.node([{ ...relay, port: proxy.port }]);
  const reader = await cluster.client(node);
  await reader.subscribe("room");
  expect(OPCODES_DROPPED).toEqual([0x11, 0x12]);
  proxy.deafen();
  reader.send({ type: "publish", channel: "room", data: 1 });
  await eventually(async () => (await health(node)).status === 503);
  // Only new connections hear again: the old one has to be given up.
  expect(await reader.messages("room", 1)).toEqual(["1:1"]);
  await eventually(isLinked(node));
});

test("a returning crowd is answered together, whatever each has missed", async () => {
  await using cluster = new TestCluster();
  const relay = await cluster.relay();
  const [a, b] = [await cluster.node([relay]), await cluster.node([relay])];
  const writer = await cluster.client(a);
  const { position } = await writer.subscribe("room");
  for (let n = 1; n <= 30; n++) await writer.publish("room", n);
  const crowd = await Promise.all(Array.from({ length: 60 }, () => cluster.client(b)));
  await Promise.all(
    crowd.map(async (client: Client, n) => {
      const missed = 1 + (n % 30);
      const since = { ...Object(position), offset: 30 - missed };
      const from = n % 2 === 0 ? { since } : { last: missed };
      expect(await client.subscribe("room", from)).toMatchObject({
        recovered: true,
        position: since,
      });
      expect(await client.messages("room", missed)).toEqual(numbers(31 - missed, 30));
    }),
  );
  await writer.publish("room", 31);
  for (const client of crowd) expect(await client.messages("room", 1)).toEqual(["31:31"]);
});

test("megabytes that were missed come page by page, no faster than they are read, and then what is live", async () => {
  await using cluster = new TestCluster();
  const relay = await cluster.relay();
  const channels = { room: { history: { bytes: 16 * 1024 * 1024 } } };
  const [a, b] = [
    await cluster.node([relay], { channels }),
    await cluster.node([relay], { channels }),
  ];
  const writer = await cluster.client(a);
  await writer.subscribe("room", { last: 0 });
  const { position } = await writer.subscribe("room");
  await writer.ask({ type: "unsubscribe", channel: "room" });
  const data = "x".repeat(40_000);
  for (let n = 0; n < 125; n++) await writer.publish("room", data);
  for (const node of [b, a]) {
    const reader = await cluster.client(node);
    const other = await cluster.client(node, { encoding: "msgpack" });
    expect(await reader.subscribe("room", { since: position })).toMatchObject({
      recovered: true,
      position,
    });
    expect(
      await other.subscribe("room", { since: { ...Object(position), offset: 50 } }),
    ).toMatchObject({
      recovered: true,
    });
    const during = writer.publish("room", "live");
    const { offset } = Object((await during).position);
    const offsets = async (client: Client, count: number) =>
      (await client.messages("room", count)).map((text) => Number(text.split(":")[0]));
    expect(await offsets(reader, offset)).toEqual(Array.from({ length: offset }, (_, n) => n + 1));
    expect(await offsets(other, offset - 50)).toEqual(
      Array.from({ length: offset - 50 }, (_, n) => n + 51),
    );
  }
});
