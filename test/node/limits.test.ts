// What a client may not do, and what it gets.

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { connect, type Socket } from "node:net";
import { KEYS_PER_SECOND } from "../../src/node/app/limits.ts";
import { eventually } from "../eventually.ts";
import { type Client, TestCluster, type TestNode, type TestRelay } from "./harness.ts";

setDefaultTimeout(30_000);

const cluster = new TestCluster();
let relay: TestRelay;
let node: TestNode;
beforeAll(async () => {
  relay = await cluster.relay();
  node = await cluster.node([relay], {
    methods: { big: () => "x".repeat(2_000_000), wait: () => Bun.sleep(60) },
  });
});
afterAll(() => cluster[Symbol.asyncDispose]());

/** A channel whose subscribers learn who leaves it. */
const WATCHED = { presence: true };

const codeOf = async (client: Client) => (await client.closed).code;

test("frames that are no messages are answered by code, and closed when there are too many", async () => {
  const client = await cluster.client(node);
  const bad = [
    "",
    "{",
    "[]",
    "null",
    '"text"',
    "{}",
    '{"type":7}',
    `{"type":"publish","channel":"a b","data":1}`,
    '{"type":"publish","channel":"a"}',
    `${'{"type":"call","method":"x","params":'}${"[".repeat(70)}${"]".repeat(70)}}`,
  ];
  for (const [n, text] of bad.entries()) {
    client.socket.send(text);
    expect(await client.next("error")).toMatchObject({ code: "bad_frame", retry: false });
    expect(client.log).toHaveLength(n + 2);
  }
  client.socket.send('{"type":"publish","id":5,"channel":"a","data":"\\ud800"}');
  expect(await client.next("error")).toMatchObject({ code: "bad_frame" });
  expect(await codeOf(client)).toBe(4400);
});

test("a position that no channel can reach is refused, and the link to the relay stays", async () => {
  const client = await cluster.client(node);
  await client.subscribe("room");
  const since = { epoch: "x", offset: Number.MAX_SAFE_INTEGER };
  for (const type of ["subscribe", "history"])
    expect(await client.ask({ type, channel: "room", since })).toMatchObject({
      code: "bad_frame",
      message: expect.stringContaining("since.offset"),
    });
  const highest = { ...since, offset: since.offset - 1 };
  expect(await client.ask({ type: "history", channel: "$everyone", since: highest })).toMatchObject(
    { gap: { reason: "epoch", from: Number.MAX_SAFE_INTEGER } },
  );
  expect(await client.subscribe("room", { since: highest })).toMatchObject({ recovered: false });
});

test("an error carries the id of the frame, where that can be read", async () => {
  const client = await cluster.client(node);
  expect(await client.ask({ type: "subscribe", channel: "" })).toMatchObject({ code: "bad_frame" });
  const deep: unknown = JSON.parse(`${"[".repeat(70)}${"]".repeat(70)}`);
  const packed = await cluster.client(node, { encoding: "msgpack" });
  for (const each of [client, packed])
    for (const data of ["\ud800", deep])
      expect(await each.publish("room", data)).toMatchObject({ code: "bad_frame", retry: false });
  client.socket.send(new Uint8Array([0x81]));
  expect(await client.next("error")).toEqual({
    type: "error",
    code: "bad_frame",
    message: "this connection speaks JSON, in text frames",
    retry: false,
  });
});

test("msgpack that JSON cannot say is a bad frame", async () => {
  const client = await cluster.client(node, { encoding: "msgpack" });
  const frames = [
    { type: "publish", channel: "a", data: new Uint8Array(3) },
    { type: "publish", channel: "a", data: 2n ** 60n },
    { type: "publish", channel: "a", data: new Date() },
    { type: "publish", channel: "a", data: Number.NaN },
    { type: "publish", channel: "a", data: new Map([[1, 2]]) },
  ];
  for (const frame of frames) {
    client.send(frame);
    expect(await client.next("error")).toMatchObject({ code: "bad_frame" });
  }
  client.socket.send("{}");
  expect(await client.next("error")).toMatchObject({ code: "bad_frame" });
  expect(await client.ask({ type: "ping" })).toMatchObject({ type: "pong" });
});

test("a message over the limit ends the connection, data over the limit only the request", async () => {
  const client = await cluster.client(node);
  expect(await client.publish("a", "x".repeat(64_600))).toMatchObject({ code: "too_large" });
  expect(await client.publish("a", "x".repeat(64_000))).toMatchObject({ type: "ok" });
  client.socket.send("x".repeat(65_537));
  expect(await codeOf(client)).toBe(1009);
});

test("text that is not UTF-8 ends the connection", async () => {
  const socket = await rawClient();
  const closed = new Promise((resolve) => socket.once("close", resolve));
  socket.resume();
  socket.write(new Uint8Array([0x81, 0x82, 0, 0, 0, 0, 0xff, 0xfe]));
  await closed;
});

test("subscriptions are counted", async () => {
  const few = await cluster.node([relay], { limits: { subscriptions: 2 } });
  const client = await cluster.client(few);
  expect(Object(client.welcome.limits).subscriptions).toBe(2);
  await client.subscribe("a");
  await client.subscribe("b");
  expect(await client.subscribe("c")).toMatchObject({ code: "limit" });
  expect(await client.subscribe("b", { last: 1 })).toMatchObject({ type: "ok" });
  await client.ask({ type: "unsubscribe", channel: "a" });
  expect(await client.subscribe("c")).toMatchObject({ type: "ok" });
});

test("requests beyond the rate wait, those far beyond are refused, and who goes on is closed", async () => {
  const slow = await cluster.node([relay], { limits: { requestsPerSecond: 100 } });
  const client = await cluster.client(slow);
  const begunAt = performance.now();
  const answers = await Promise.all(
    Array.from({ length: 200 }, () => client.ask({ type: "unsubscribe", channel: "a" })),
  );
  expect(answers.every(({ type }) => type === "ok")).toBe(true);
  expect(performance.now() - begunAt).toBeGreaterThan(700);
  for (let n = 0; n < 600; n++) client.send({ type: "unsubscribe", channel: "a" });
  expect(await client.take(({ code }) => code === "rate")).toMatchObject({ retry: true });
  for (let n = 0; n < 1500; n++) client.send({ type: "unsubscribe", channel: "a" });
  expect(await codeOf(client)).toBe(4429);
});

test("a publication refused for its rate is not overtaken by those behind it", async () => {
  const slow = await cluster.node([relay], { limits: { requestsPerSecond: 500 } });
  const [writer, reader] = [await cluster.client(slow), await cluster.client(slow)];
  await writer.ask({ type: "connect", producer: "overtaking" });
  await reader.subscribe("ordered");
  const publish = (seq: number) =>
    writer.send({ type: "publish", id: seq, channel: "ordered", data: seq, seq });
  for (let seq = 1; seq <= 1200; seq++) publish(seq);
  const refused = Number((await writer.take(({ code }) => code === "rate")).id);
  expect(await writer.take(({ id }) => id === refused - 1)).toMatchObject({ type: "ok" });
  publish(1201);
  expect(await writer.take(({ id }) => id === 1201)).toMatchObject({ code: "busy", retry: true });
  for (const seq of [refused, refused + 1]) publish(seq);
  await writer.take(({ id, type }) => id === refused + 1 && type === "ok");
  const seen = (await reader.messages("ordered", refused + 1)).map((text) =>
    Number(text.split(":")[1]),
  );
  expect(seen).toEqual(Array.from({ length: refused + 1 }, (_, n) => n + 1));
});

test("keys are taken at a rate: what comes faster is refused for now", async () => {
  const client = await cluster.client(node);
  const answers = await Promise.all(
    Array.from({ length: 2 * KEYS_PER_SECOND }, (_, n) =>
      client.publish("keys", n, { key: `key ${n}` }),
    ),
  );
  const refused = answers.filter(({ type }) => type === "error");
  expect(refused.length).toBeGreaterThan(0);
  expect(refused.every(({ code, retry }) => code === "rate" && retry === true)).toBe(true);
  expect(answers.length - refused.length).toBeGreaterThanOrEqual(KEYS_PER_SECOND);
  expect(await client.publish("keys", "without a key")).toMatchObject({ type: "ok" });
});

test("pings are answered out of turn, but not without limit", async () => {
  const client = await cluster.client(node, { isGreeted: true });
  const pings = await Promise.all(Array.from({ length: 30 }, () => client.ask({ type: "ping" })));
  expect(pings.filter(({ type }) => type === "pong").length).toBeLessThan(20);
  expect(pings.filter(({ code }) => code === "rate").length).toBeGreaterThan(10);
});

test("calls that take their time are counted", async () => {
  const client = await cluster.client(node);
  const answers = await Promise.all(Array.from({ length: 70 }, () => client.ask({ type: "wait" })));
  expect(answers.filter(({ code }) => code === "limit")).toHaveLength(6);
  expect(await client.ask({ type: "wait" })).toMatchObject({ type: "ok" });
});

test("an answer that is too long to send is the app's failure", async () => {
  const client = await cluster.client(node);
  expect(await client.ask({ type: "big" })).toMatchObject({ code: "internal" });
});

test("a client that has been silent for two ping intervals is closed; one that only answers pings stays", async () => {
  const quick = await cluster.node([relay], {}, { pingMs: 200 });
  const alive = await cluster.client(quick);
  const silent = await rawClient(quick);
  const begunAt = performance.now();
  silent.resume();
  const bytes: Uint8Array[] = [];
  silent.on("data", (chunk: Buffer) => bytes.push(chunk));
  await new Promise((resolve) => silent.once("close", resolve));
  expect(performance.now() - begunAt).toBeGreaterThan(350);
  expect(Buffer.concat(bytes).includes(Buffer.from([4409 >> 8, 4409 & 255]))).toBe(true);
  expect(await alive.ask({ type: "ping" })).toMatchObject({ type: "pong" });
  expect(quick.node.status.connections).toBe(1);
});

test("a node that is full says so", async () => {
  const small = await cluster.node([relay], {}, { connectionsMax: 2 });
  const [first] = [await cluster.client(small), await cluster.client(small)];
  await expect(cluster.client(small)).rejects.toThrow();
  first.close();
  await eventually(() => small.node.status.connections === 1);
  await cluster.client(small);
});

test("a client that does not read is let go, and the others do not notice", async () => {
  const busy = await cluster.node([relay], {
    limits: { bufferedBytes: 64 * 1024 },
    channels: { flood: WATCHED },
  });
  const [writer, reader] = [await cluster.client(busy), await cluster.client(busy)];
  await reader.subscribe("flood");
  await subscribedAndStalled(busy, "flood");
  const count = await floodUntilOneLeaves(writer, "flood", reader);
  expect((await reader.messages("flood", count)).length).toBe(count);
  expect(busy.node.status.connections).toBe(3);
  await eventually(() => busy.node.status.connections === 2);
});

test("one that reads too slowly reads the rest, learns why it is closed, and resumes by position", async () => {
  const busy = await cluster.node([relay], {
    limits: { bufferedBytes: 64 * 1024 },
    channels: { drip: WATCHED },
  });
  const [writer, reader] = [await cluster.client(busy), await cluster.client(busy)];
  const { position } = await reader.subscribe("drip");
  const slow = await subscribedAndStalled(busy, "drip");
  const count = await floodUntilOneLeaves(writer, "drip", reader);
  expect(await writer.publish("drip", "missed")).toMatchObject({ type: "ok" });
  const bytes: Uint8Array[] = [];
  slow.on("data", (chunk: Buffer) => bytes.push(chunk));
  slow.resume();
  await new Promise((resolve) => slow.once("close", resolve));
  const all = Buffer.concat(bytes);
  expect(all.subarray(-64).includes("resume by position")).toBe(true);
  const seen = [...all.toString("latin1").matchAll(/"channel":"drip","offset":(\d+)/g)].map(
    ([, offset]) => Number(offset),
  );
  expect(seen).toEqual(seen.map((_, n) => n + 1));
  expect(seen.length).toBeLessThanOrEqual(count);
  const again = await cluster.client(busy);
  const since = { ...Object(position), offset: seen.length };
  const resumed = await again.subscribe("drip", { since });
  const { offset } = Object(resumed.position);
  expect(resumed).toMatchObject({ recovered: offset === seen.length });
  expect((await again.messages("drip", count + 1 - offset)).at(-1)).toBe(`${count + 1}:"missed"`);
});

test("what a client has missed does not make it slow, though it waits to be read", async () => {
  // Of its own: it takes most of what a relay's memory may hold.
  const busy = await cluster.node([await cluster.relay("relay-2")], {
    limits: { bufferedBytes: 64 * 1024 },
    channels: { "long:{name}": { history: { size: 1000, bytes: 64 * 1024 * 1024 } } },
  });
  const writer = await cluster.client(busy);
  const { position } = await writer.subscribe("long:1");
  await writer.ask({ type: "unsubscribe", channel: "long:1" });
  // More than the kernel's buffers, and each nearly as much as the budget.
  const data = "x".repeat(60_000);
  for (let n = 0; n < 250; n++) await writer.publish("long:1", data);
  const reader = await rawClient(busy);
  reader.write(
    textFrame(`{"type":"subscribe","channel":"long:1","since":${JSON.stringify(position)}}`),
  );
  // A second one of the same size, read to its end, is answered after the first has filled what it
  // can.
  const quick = await cluster.client(busy);
  await quick.subscribe("long:1", { since: position });
  await quick.messages("long:1", 250);
  const bytes: Buffer[] = [];
  const isAll = new Promise<void>((resolve, reject) => {
    const received = () => `${bytes.reduce((sum, { length }) => sum + length, 0)} bytes came`;
    const late = setTimeout(() => reject(new Error(`it hangs: ${received()}`)), 20_000);
    reader.on("close", () => {
      clearTimeout(late);
      reject(new Error(`it was closed: ${received()}`));
    });
    reader.on("data", (chunk: Buffer) => {
      // The words may be cut in two.
      const before = bytes.at(-1)?.subarray(-20) ?? Buffer.alloc(0);
      bytes.push(chunk);
      if (`${before.toString("latin1")}${chunk.toString("latin1")}`.includes('"offset":250,'))
        resolve();
    });
  });
  reader.resume();
  await isAll;
  expect(
    Buffer.concat(bytes)
      .toString("latin1")
      .match(/"channel":"long:1","offset"/g),
  ).toHaveLength(250);
});

/**
 * Publishes to a channel until somebody has left it, and returns how often: how much that takes is
 * for the kernel's buffers to say. Each megabyte is followed by more time than a node lets pass
 * between two looks for slow readers, so none is cut for what comes between them.
 */
async function floodUntilOneLeaves(
  writer: Client,
  channel: string,
  watcher: Client,
): Promise<number> {
  let hasLeft = false;
  const left = watcher.next("leave").then(() => {
    hasLeft = true;
  });
  let count = 0;
  while (!hasLeft) {
    for (const end = count + 20; count < end; count++)
      await writer.publish(channel, "x".repeat(60_000));
    await Promise.race([left, Bun.sleep(100)]);
  }
  return count;
}

/** A client that has subscribed to a channel, and then reads nothing. */
async function subscribedAndStalled(at: TestNode, channel: string): Promise<Socket> {
  const socket = await rawClient(at);
  socket.write(textFrame(`{"type":"subscribe","channel":"${channel}"}`));
  let heard = "";
  const subscribed = new Promise<void>((resolve) => {
    socket.on("data", (chunk: Buffer) => {
      heard = (heard + chunk.toString("latin1")).slice(-500);
      if (heard.includes('"recovered"')) resolve();
    });
  });
  socket.resume();
  await subscribed;
  socket.removeAllListeners("data");
  socket.pause();
  return socket;
}

/** A handshake by hand, and then nothing is read until somebody resumes it. */
async function rawClient(at: TestNode = node): Promise<Socket> {
  const [host, port] = at.address.split(":");
  const socket = connect(Number(port), host);
  cluster.onEnd(() => socket.destroy());
  socket.on("error", () => {});
  socket.write(
    "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n",
  );
  await new Promise((resolve) => socket.once("data", resolve));
  socket.pause();
  return socket;
}

/** A masked text frame of less than 126 bytes. */
function textFrame(text: string): Uint8Array {
  const bytes = new TextEncoder().encode(text);
  return new Uint8Array([0x81, 0x80 | bytes.length, 0, 0, 0, 0, ...bytes]);
}
