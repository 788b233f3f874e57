// What the app's hooks decide, and what happens when one fails, or does not answer.

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { connect } from "../../src/client/index.ts";
import { ANYONE } from "../../src/node/app/authentication.ts";
import { type AppOptions, Refused } from "../../src/node/app/index.ts";
import { type Client, TestCluster, type TestNode, type TestRelay } from "./harness.ts";
import { createLoneNode } from "./lone-node.ts";

setDefaultTimeout(30_000);

const cluster = new TestCluster();
let relay: TestRelay;
let rooms = 0;
beforeAll(async () => {
  relay = await cluster.relay();
});
afterAll(() => cluster[Symbol.asyncDispose]());

const NEVER = new Promise<never>(() => {});
const newRoom = () => `room:${++rooms}`;
const nodeWith = (options: AppOptions<string>) =>
  cluster.node([relay], { ...options, limits: { hookTimeoutMs: 50 } });
const tokenClient = (node: TestNode) => cluster.client(node, { isGreeted: false });
const closing = async (client: Client) => {
  const { code, reason } = await client.closed;
  return [code, reason];
};

test("a publish hook decides by what it returns: data, true for what came, and nothing publishes nothing", async () => {
  const room = newRoom();
  const returned: Record<string, unknown> = {
    ...{ same: true, other: { n: 1 }, nil: null, zero: 0, text: "" },
    ...{ no: false, promised: Promise.resolve(true), later: Promise.resolve() },
  };
  const node = await nodeWith({
    channels: { "room:{n}": { publish: (_, data) => returned[String(data)] } },
  });
  const client = await cluster.client(node);
  await client.subscribe(room);
  for (const data of ["no", "nothing", "later"])
    expect(await client.publish(room, data)).toMatchObject({ code: "refused", retry: false });
  expect((await client.publish(room, "nothing")).message).toBe(
    "The app's publish function returned nothing: it has to return the data to publish, or true.",
  );
  for (const data of ["same", "other", "nil", "zero", "text", "promised"])
    expect(await client.publish(room, data)).toMatchObject({ type: "ok" });
  expect(await client.messages(room, 6)).toEqual([
    ...['1:"same"', '2:{"n":1}', "3:null", "4:0", '5:""', '6:"promised"'],
  ]);
});

test("a publish hook that does not answer is busy, those behind it go on in order, and its answer is dropped", async () => {
  const [room, other] = [newRoom(), newRoom()];
  const stuck = Promise.withResolvers<string>();
  const node = await nodeWith({
    channels: { "room:{n}": { publish: (_, data) => (data === "stuck" ? stuck.promise : true) } },
  });
  const client = await cluster.client(node);
  await client.ask({ type: "connect", producer: "producer" });
  await client.subscribe(room);
  const answers = await Promise.all([
    client.publish(room, "stuck", { seq: 1 }),
    client.publish(room, "behind", { seq: 2 }),
    client.publish(other, "elsewhere", { seq: 3 }),
  ]);
  expect(answers.map(({ type, code, retry }) => code ?? type ?? retry)).toEqual([
    ...["busy", "busy", "ok"],
  ]);
  stuck.resolve("too late");
  await client.publish(room, "again", { seq: 1 });
  await client.publish(room, "behind", { seq: 2 });
  expect(await client.messages(room, 2)).toEqual(['1:"again"', '2:"behind"']);
});

test("a subscribe hook that does not answer is busy, and the next request is answered", async () => {
  const node = await nodeWith({
    channels: { "room:stuck": { subscribe: () => NEVER }, "room:{n}": {} },
  });
  const client = await cluster.client(node);
  const [stuck, next] = [client.subscribe("room:stuck"), client.subscribe(newRoom())];
  expect(await stuck).toMatchObject({ code: "busy", retry: true });
  expect(await next).toMatchObject({ type: "ok" });
});

test("a connect hook that does not answer sends the client away for now", async () => {
  const stuck = { connect: () => NEVER };
  const byToken = await nodeWith({ auth: "token", ...stuck });
  const client = await tokenClient(byToken);
  expect(await client.ask({ type: "connect", token: "any" })).toMatchObject({
    code: "busy",
    retry: true,
  });
  expect((await closing(client))[0]).toBe(1011);
  const byRequest = await nodeWith(stuck);
  expect((await handshake(byRequest)).status).toBe(503);
});

test("a connect in time has as long as the hook may take, not what is left until connects are late", async () => {
  const lookedUp = Promise.withResolvers<{ user: string }>();
  const { connect, pass } = createLoneNode({
    auth: "token",
    connect: () => lookedUp.promise,
    limits: { hookTimeoutMs: 30_000 },
  });
  const { say, socket } = connect(new Request("http://tutti/"));
  pass(9000);
  say({ type: "connect", id: 1, token: "ada" });
  pass(20_000);
  expect([socket.closedWith, socket.frames]).toEqual([undefined, []]);
  lookedUp.resolve({ user: "ada" });
  await lookedUp.promise;
  pass(1000);
  expect(socket.frames.map(({ type }) => type)).toEqual(["welcome", "ok"]);
});

test("a hook that does not answer has one line in the log, with its name, channel and session", () => {
  const {
    connect: open,
    pass,
    overdue,
  } = createLoneNode({
    channels: { "room:{n}": { subscribe: () => NEVER, publish: () => NEVER } },
  });
  const { say, socket } = open(ANYONE);
  say({ type: "publish", id: "p", channel: "room:1", data: 1 });
  say({ type: "subscribe", id: "s", channel: "room:2" });
  pass(9000);
  expect([overdue, socket.frames.length]).toEqual([[], 1]);
  pass(3000);
  expect(overdue).toEqual(["publish room:1 session"]);
  pass(12_000);
  expect(overdue).toEqual(["publish room:1 session", "subscribe room:2 session"]);
  expect(socket.frames.slice(1).map(({ id, code }) => [id, code])).toEqual([
    ["p", "busy"],
    ["s", "busy"],
  ]);
});

test("only a refusal is final: a hook that fails may be asked again", async () => {
  const faults = { bug: new Error("a secret of the app"), refused: new Refused("not you") };
  const failing = (word: string | undefined) => {
    if (word === "bug" || word === "refused") throw faults[word];
  };
  const node = await nodeWith({
    auth: "token",
    connect: ({ token }) => failing(token),
    channels: {
      "room:bug": { subscribe: () => failing("bug") },
      "room:refused": { subscribe: async () => failing("refused") },
    },
  });
  const told = {
    bug: { code: "internal", retry: true, message: "The app failed to answer." },
    refused: { code: "refused", retry: false, message: "not you" },
  };
  for (const word of ["bug", "refused"] as const) {
    const client = await tokenClient(node);
    expect(await client.ask({ type: "connect", token: word })).toMatchObject(told[word]);
    expect((await closing(client))[0]).toBe(word === "bug" ? 1011 : 4401);
  }
  const client = await tokenClient(node);
  await client.ask({ type: "connect", token: "ada" });
  for (const word of ["bug", "refused"] as const)
    expect(await client.subscribe(`room:${word}`)).toMatchObject(told[word]);
});

test("the SDK comes back after a connect that failed, with what it has to publish, and stays away when refused", async () => {
  let attempts = 0;
  const node = await nodeWith({
    auth: "token",
    connect: ({ token }) => {
      if (token === "eve") throw new Refused("not you");
      if (++attempts === 1) throw new Error("the database is away");
    },
  });
  const byRequest = await nodeWith({
    connect: () => {
      throw new Refused("not you either");
    },
  });
  const room = newRoom();
  const sdk = (address: string, token: string) => {
    const client = connect(`ws://${address}`, { token });
    cluster.onEnd(() => client.close({ withinMs: 0 }));
    return client.channel(room).publish(1);
  };
  expect(await sdk(node.address, "ada")).toMatchObject({ offset: 1 });
  expect(attempts).toBe(2);
  for (const [address, message] of [
    [node.address, "not you"],
    [byRequest.address, "not you either"],
  ])
    expect(await sdk(address, "eve").catch((error: unknown) => error)).toMatchObject({
      code: "refused",
      message,
    });
});

test("who is refused by its request learns it from the close where it speaks our protocol", async () => {
  const message = `not you, ${"é".repeat(100)}`;
  const node = await nodeWith({
    connect: async () => {
      throw new Refused(message);
    },
  });
  const client = await cluster.client(node, { isGreeted: false });
  expect(await closing(client)).toEqual([4401, message.slice(0, 66)]);
  expect(client.log).toEqual([]);
  const plain = await handshake(node);
  expect([plain.status, await plain.text()]).toEqual([401, `${message}\n`]);
  const strict = await nodeWith({ origins: ["https://app.example"] });
  const foreign = { headers: { Origin: "https://evil.example" }, isGreeted: false };
  expect(await closing(await cluster.client(strict, foreign))).toEqual([
    4401,
    "Pages of this origin may not connect.",
  ]);
  expect(node.node.status.connections).toBe(0);
});

test("a client that is still being authenticated when the node drains is not taken", async () => {
  const { promise: decided, resolve: decide } = Promise.withResolvers<void>();
  const { promise: asked, resolve: ask } = Promise.withResolvers<void>();
  const node = await cluster.node([relay], {
    connect: () => {
      ask();
      return decided;
    },
  });
  const answer = handshake(node);
  await asked;
  node.node.drain();
  decide();
  expect((await answer).status).toBe(503);
});

const handshake = (node: TestNode) =>
  fetch(`http://${node.address}/`, {
    headers: {
      Upgrade: "websocket",
      Connection: "Upgrade",
      "Sec-WebSocket-Version": "13",
      "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    },
  });
