// The client against a real cluster: what an app's author gets from it, through killed nodes too.

import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { type Client, connect, type Message, TuttiError } from "../../src/client/index.ts";
import { type Cluster, startCluster } from "../cluster/start.ts";
import { eventually } from "../eventually.ts";

const NODES = 3;
let cluster: Cluster;
const clients: Client[] = [];
let rooms = 0;

beforeAll(async () => {
  cluster = await startCluster({ nodes: NODES, app: join(import.meta.dir, "apps/rooms.ts") });
});
afterAll(() => cluster[Symbol.asyncDispose]());
afterEach(() => Promise.all(clients.splice(0).map((client) => client.close({ withinMs: 0 }))));

function newClient(): Client {
  const client = connect(`ws://${cluster.address}`);
  clients.push(client);
  return client;
}
const newRoom = () => `room:${++rooms}`;

/** Resolves with the first `count` messages that a channel gives. */
async function take<T>(messages: AsyncIterable<Message<T>>, count: number): Promise<Message<T>[]> {
  const taken: Message<T>[] = [];
  if (count === 0) return taken;
  for await (const message of messages) {
    taken.push(message);
    if (taken.length === count) break;
  }
  return taken;
}
const dataOf = <T>(messages: readonly Message<T>[]): T[] => messages.map(({ data }) => data);
const upTo = (count: number): number[] => Array.from({ length: count }, (_, index) => index);
const connected = (client: Client) =>
  new Promise<string>((resolve) => client.on("connected", ({ node }) => resolve(node)));

/** What a promise is rejected with. */
async function fault(promise: Promise<unknown>): Promise<TuttiError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof TuttiError) return error;
    throw error;
  }
  throw new Error("it was not rejected");
}

describe("channels", () => {
  test("a message is where its publisher was told, and is a position to go on from", async () => {
    type News = { title: string };
    const room = newRoom();
    const reader = newClient().channel<News>(room);
    await reader.subscribe();
    const writer = newClient().channel<News>(room);
    const position = await writer.publish({ title: "first" });
    await writer.publish({ title: "second" });
    const [first, second] = await take(reader, 2);
    expect(first).toMatchObject({ channel: room, ...position, data: { title: "first" } });
    expect(Math.abs(first.time - Date.now())).toBeLessThan(60_000);
    expect(reader.position).toEqual({ epoch: second.epoch, offset: second.offset });

    const later = newClient().channel<News>(room);
    expect(await later.subscribe({ since: first })).toMatchObject({ recovered: true });
    expect(dataOf(await take(later, 1))).toEqual([{ title: "second" }]);
  });

  test("begins some publications back, and tells what is out of reach", async () => {
    const name = `short:${++rooms}`;
    const writer = newClient().channel<number>(name);
    const first = await writer.publish(0);
    for (const value of upTo(9)) await writer.publish(value + 1);
    const reader = newClient().channel<number>(name);
    await reader.subscribe({ last: 3 });
    expect(dataOf(await take(reader, 3))).toEqual([7, 8, 9]);

    const late = newClient().channel<number>(name);
    const gap = new Promise((resolve) => late.on("gap", resolve));
    const subscribed = await late.subscribe({ since: first });
    expect(subscribed).toMatchObject({ recovered: false, gap: { from: 2 } });
    expect(await gap).toMatchObject({ from: 2, position: subscribed.position });
    const remembered = dataOf(await take(late, 10 - subscribed.position.offset));
    expect(remembered).toEqual(upTo(10).slice(10 - remembered.length));
  });

  test("what comes before anyone reads is kept, for a listener or for a loop", async () => {
    const room = newRoom();
    const writer = newClient().channel<number>(room);
    for (const value of upTo(5)) await writer.publish(value);
    const looping = newClient().channel<number>(room);
    await looping.subscribe({ last: 5 });
    const listening = newClient().channel<number>(room);
    await listening.subscribe({ last: 5 });
    await listening.presence();
    const heard: number[] = [];
    const all = new Promise<void>((resolve) => {
      listening.on("message", ({ data }) => heard.push(data) === 6 && resolve());
    });
    await writer.publish(5);
    expect(dataOf(await take(looping, 2))).toEqual([0, 1]);
    expect(dataOf(await take(looping, 4))).toEqual([2, 3, 4, 5]);
    await all;
    expect(heard).toEqual(upTo(6));
  });

  test("a loop that is slower than the channel loses nothing", async () => {
    const room = newRoom();
    const writer = newClient().channel<{ number: number; filling: string }>(room);
    const reader = newClient().channel<{ number: number; filling: string }>(room);
    await reader.subscribe();
    const filling = "x".repeat(200);
    const published = Promise.all(upTo(4000).map((number) => writer.publish({ number, filling })));
    const numbers: number[] = [];
    for await (const { data } of reader) {
      numbers.push(data.number);
      if (numbers.length === 1) await published;
      if (numbers.length === 4000) break;
    }
    expect(numbers).toEqual(upTo(4000));
  });

  test("two readers of one channel: what one looks back at, and its end, are its own", async () => {
    const room = newRoom();
    const writer = newClient().channel<number>(room);
    for (const value of upTo(5)) await writer.publish(value);
    const client = newClient();
    const [one, two] = [client.channel<number>(room), client.channel<number>(room)];
    const heard: number[] = [];
    one.on("message", ({ data }) => heard.push(data));
    await one.subscribe();
    await writer.publish(5);
    await two.subscribe({ last: 3 });
    expect(dataOf(await take(two, 3))).toEqual([3, 4, 5]);
    two.unsubscribe();
    const last = await writer.publish(6);
    await eventually(() => one.position?.offset === last?.offset);
    expect(heard).toEqual([5, 6]);
    expect(two.position).toBeUndefined();
  });

  test("looks back by position, in pages", async () => {
    const room = newRoom();
    const channel = newClient().channel<number>(room);
    expect(await fault(channel.history())).toMatchObject({ code: "not_subscribed" });
    await channel.subscribe();
    for (const value of upTo(7)) await channel.publish(value);
    const first = await channel.history({ limit: 4 });
    expect(dataOf(first.messages)).toEqual([0, 1, 2, 3]);
    expect(first.more).toBe(true);
    const second = await channel.history({ since: first.messages[3], limit: 4 });
    expect(dataOf(second.messages)).toEqual([4, 5, 6]);
    expect(second).toMatchObject({ more: false, position: { offset: second.messages[2].offset } });
    expect(dataOf((await channel.history({ reverse: true, limit: 2 })).messages)).toEqual([5, 6]);
  });

  test("knows who is there, and hears who comes and goes", async () => {
    const room = newRoom();
    const [ada, ben] = [newClient(), newClient()];
    const [adas, bens] = [ada.channel(room), ben.channel(room)];
    await adas.subscribe();
    const joined = new Promise<void>((resolve) => {
      adas.on("join", ({ client }) => client === ben.session && resolve());
    });
    await bens.subscribe();
    await joined;
    const present = (await adas.presence()).map(({ client }) => client);
    expect(present.sort()).toEqual([String(ada.session), String(ben.session)].sort());
    const left = new Promise((resolve) => adas.on("leave", resolve));
    const session = ben.session;
    bens.unsubscribe();
    expect(await left).toEqual({ client: session });
  });

  test("the app has its say", async () => {
    const client = newClient();
    const checked = client.channel<unknown>(`checked:${++rooms}`);
    expect(await fault(checked.publish("forbidden"))).toMatchObject({
      code: "refused",
      message: "not that word",
    });
    await checked.subscribe({ last: 0 });
    await checked.publish("fine");
    const [{ data }] = await take(checked, 1);
    expect(data).toEqual({ data: "fine", node: client.node });
    const closed = client.channel("closed:1");
    expect(await fault(closed.subscribe())).toMatchObject({ code: "refused", retry: false });
    expect(await fault(take(closed, 1).then(() => undefined))).toMatchObject({ code: "refused" });
    expect(await fault(client.channel("no pattern").publish(1))).toMatchObject({
      code: "bad_frame",
    });
    expect(await fault(checked.publish(undefined))).toMatchObject({ code: "bad_frame" });
  });

  test("a key publishes once, whoever says it", async () => {
    const room = newRoom();
    const [one, two] = [newClient().channel<string>(room), newClient().channel<string>(room)];
    await one.subscribe();
    const first = await one.publish("order", { key: "order-7" });
    expect(await two.publish("order again", { key: "order-7" })).toEqual(first);
    expect(dataOf((await one.history()).messages)).toEqual(["order"]);
  });

  test("a frame over the limit is refused on this side, and the connection lives", async () => {
    const client = newClient();
    const session = connected(client);
    expect(await fault(client.channel(newRoom()).publish("x".repeat(70_000)))).toMatchObject({
      code: "too_large",
    });
    expect(await fault(client.call("echo", "x".repeat(70_000)))).toMatchObject({
      code: "too_large",
    });
    expect(client.node).toBe(await session);
  });
});

test("what no node could read is refused on this side, and what follows is acknowledged", async () => {
  const client = newClient();
  const room = client.channel<unknown>(newRoom());
  const half = [room.publish("\ud800"), room.publish({ text: "\udc00" }), client.call("\ud800")];
  const odd = client.channel("\ud800");
  const all = [...half, odd.publish(1), odd.subscribe(), odd.history(), odd.presence()];
  for (const each of await Promise.all(all.map(fault)))
    expect(each).toMatchObject({ code: "bad_frame", retry: false });
  expect(await room.publish("whole")).toMatchObject({ offset: 1 });
});

describe("calls and broadcasts", () => {
  test("data that a node would refuse is rejected on this side, and the connection lives", async () => {
    const client = newClient();
    const room = client.channel(newRoom());
    const deep: unknown = JSON.parse(`${"[".repeat(64)}${"]".repeat(64)}`);
    for (const data of ["\ud83d", { text: "x\udfff" }, deep, { "\ud800": 1 }])
      for (const attempt of [() => room.publish(data), () => client.call("echo", data)])
        expect(await fault(attempt())).toMatchObject({ code: "bad_frame", retry: false });
    expect(await room.publish("\ud83d\ude00 \\ud83d")).toMatchObject({ offset: 1 });
  });

  test("a method answers, or refuses", async () => {
    const client = newClient();
    expect(await client.call<{ a: number }>("echo", { a: 1 })).toEqual({ a: 1 });
    expect(await fault(client.call("fail"))).toMatchObject({
      code: "refused",
      message: "never",
      retry: false,
    });
    expect(await fault(client.call("none"))).toMatchObject({ code: "no_method" });
    expect(await fault(client.call("slow", 1, { timeoutMs: 50 }))).toMatchObject({
      code: "timeout",
      retry: true,
    });
  });

  test("a broadcast reaches every client on every node", async () => {
    const listeners = upTo(2 * NODES).map(newClient);
    const heard = listeners.map(
      (client) => new Promise((resolve) => client.on("broadcast", ({ data }) => resolve(data))),
    );
    await Promise.all(listeners.map((client) => client.broadcasts.subscribe()));
    expect(new Set(listeners.map(({ node }) => node)).size).toBe(NODES);
    await listeners[0].call("shout", "hello");
    expect(await Promise.all(heard)).toEqual(listeners.map(() => "hello"));
  });
});

describe("a killed node", () => {
  test("costs a pause: nothing is lost, repeated or reordered, in either direction", async () => {
    const room = newRoom();
    const [reader, writer] = [newClient(), newClient()];
    const reading = reader.channel<number>(room);
    await reading.subscribe();
    const offsets: number[] = [];
    const numbers: number[] = [];
    const broadcasts: unknown[] = [];
    reading.on("message", ({ data, offset }) => {
      numbers.push(data);
      offsets.push(offset);
    });
    reader.on("broadcast", ({ data }) => broadcasts.push(data));
    await reader.broadcasts.subscribe();
    const acknowledged: Promise<unknown>[] = [];
    for (const round of upTo(2)) {
      const served = await Promise.all(
        [reader, writer].map((client) => client.call<{ node: string }>("who-serves")),
      );
      const victims = new Set(served.map(({ node }) => node));
      for (const number of upTo(300)) {
        acknowledged.push(writer.channel<number>(room).publish(300 * round + number));
        if (number === 150) await Promise.all([...victims].map((id) => cluster.kill(id)));
        if (number % 50 === 49) await Bun.sleep(5);
      }
      await newClient().call("shout", round);
      await Promise.all(acknowledged);
      await Promise.all([...victims].map((id) => cluster.until(id, ({ state }) => state === "up")));
    }
    const last = await writer.channel<number>(room).publish(600);
    await eventually(() => reading.position?.offset === last?.offset);
    expect(numbers).toEqual(upTo(601));
    expect(offsets).toEqual([...new Set(offsets)].sort((a, b) => a - b));
    expect((await reading.history({ limit: 1000 })).messages).toHaveLength(601);
    expect(broadcasts).toEqual([0, 1]);
  });

  test("a call that was under way is not made twice", async () => {
    const client = newClient();
    const { node } = await client.call<{ node: string }>("who-serves");
    const slow = fault(client.call("slow"));
    await cluster.kill(node);
    expect(await slow).toMatchObject({ code: "disconnected", retry: false });
    expect((await client.call<{ pid: number }>("who-serves")).pid).toBePositive();
    await cluster.until(node, ({ state }) => state === "up");
  });

  test("a drained node is left without a pause that anybody notices", async () => {
    const client = newClient();
    await client.call("echo");
    const node = String(client.node);
    const goodbye = new Promise((resolve) => client.on("goodbye", resolve));
    const elsewhere = connected(client);
    await cluster.run("drain", node);
    expect(await goodbye).toMatchObject({ reconnectAfterMs: expect.any(Number) });
    expect(await elsewhere).not.toBe(node);
  });
});

describe("the end", () => {
  test("close lets what is pending be answered, then rejects all that comes", async () => {
    const client = newClient();
    const channel = client.channel<number>(newRoom());
    const iterating = take(channel, 1);
    const published = upTo(500).map((value) => channel.publish(value));
    await client.close();
    expect(await Promise.all(published)).toHaveLength(500);
    expect(client.state).toBe("closed");
    expect(await fault(channel.publish(1))).toMatchObject({ code: "closed" });
    expect(await fault(client.call("echo"))).toMatchObject({ code: "closed" });
    expect((await iterating).length).toBeLessThanOrEqual(1);
    await client.close();
  });

  test("what cannot be answered in time is rejected", async () => {
    const client = connect("ws://127.0.0.1:9");
    const published = fault(client.channel("a").publish(1));
    const told = new Promise((resolve) => client.on("disconnected", resolve));
    expect(await told).toMatchObject({ wasConnected: false, reconnectInMs: expect.any(Number) });
    await client.close({ withinMs: 50 });
    expect(await published).toMatchObject({ code: "closed" });
  });

  test("an unsubscribe ends the loop", async () => {
    const channel = newClient().channel(newRoom());
    const loop = (async () => {
      for await (const _ of channel) channel.unsubscribe();
      return "over";
    })();
    await channel.subscribe();
    await channel.publish(1);
    expect(await loop).toBe("over");
  });

  test("an HTTP answer in place of a WebSocket is told, and tried again", async () => {
    let asked = 0;
    using server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: () => {
        asked++;
        return new Response("no", { status: 401 });
      },
    });
    const client = connect(`ws://127.0.0.1:${server.port}/?token=secret`);
    clients.push(client);
    const told = await new Promise<TuttiError>((resolve) => client.on("error", resolve));
    expect(told).toMatchObject({ code: "unreachable", retry: true });
    expect(told.message).toContain("401");
    const before = asked;
    await eventually(() => asked > before);
    expect(client.state).not.toBe("closed");
  });

  test("a server that speaks no TLS is told", async () => {
    using server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("no") });
    const client = connect(`wss://127.0.0.1:${server.port}`);
    clients.push(client);
    const told = await new Promise<TuttiError>((resolve) => client.on("error", resolve));
    expect(told.message).toContain("TLS");
  });

  test("a WebSocket that cannot be made is told, as a browser's is in a page by https", async () => {
    class Forbidden {
      constructor() {
        throw new Error("an insecure WebSocket may not be made here");
      }
      addEventListener(): void {}
      send(): void {}
      close(): void {}
    }
    const client = connect("ws://127.0.0.1:9", { WebSocket: Forbidden });
    clients.push(client);
    const told = await new Promise<TuttiError>((resolve) => client.on("error", resolve));
    expect(told.message).toContain("may not be made here");
  });

  test("a URL that is none is refused at once", () => {
    expect(() => connect("nonsense")).toThrow(TypeError);
    expect(() => connect("ftp://127.0.0.1")).toThrow("neither ws:// nor wss://");
  });
});

describe("tokens", () => {
  test("let a client in, are asked for anew each time, and are refused for good", async () => {
    await using door = await startCluster({
      nodes: 2,
      app: join(import.meta.dir, "apps/sesame.ts"),
    });
    let asked = 0;
    const client = connect(`http://${door.address}`, { token: async () => `sesame-${++asked}` });
    clients.push(client);
    expect(await client.call<string>("who-am-i")).toBe("sesame-1");
    const room = client.channel("room:1");
    const joined = new Promise((resolve) => room.on("join", resolve));
    await room.subscribe();
    expect(await joined).toEqual({ client: client.session, info: { token: "sesame-1" } });
    expect(await room.presence()).toEqual([
      { client: String(client.session), info: { token: "sesame-1" } },
    ]);
    const again = connected(client);
    await door.kill(String(client.node));
    await again;
    expect(await client.call<string>("who-am-i")).toBe("sesame-2");

    const stranger = connect(`http://${door.address}`, { token: "guess" });
    const refused = fault(stranger.call("who-am-i"));
    expect(await refused).toMatchObject({ code: "refused", message: "the door stays shut" });
    expect(stranger.state).toBe("refused");
  });
});

test("an app that fails for a moment costs a moment: nothing is rejected, no subscription ends", async () => {
  await using flaky = await startCluster({ nodes: 1, app: join(import.meta.dir, "apps/flaky.ts") });
  const client = connect(`ws://${flaky.address}`, { token: "ada" });
  clients.push(client);
  const errors: string[] = [];
  client.on("error", ({ code }) => errors.push(code));
  const room = client.channel<number>("room:1");
  const heard: number[] = [];
  room.on("message", ({ data }) => heard.push(data));
  const published = room.publish(0);
  await room.subscribe();
  expect(await published).toMatchObject({ offset: 1 });
  expect(errors).toEqual(["internal"]);
  // The second subscribe, which fails, is one for the sake of another reader.
  const other = client.channel<number>("room:1");
  await other.subscribe({ last: 1 });
  expect(dataOf(await take(other, 1))).toEqual([0]);
  const last = await room.publish(1);
  await eventually(() => room.position?.offset === last?.offset);
  expect(heard.at(-1)).toBe(1);
  expect(heard).toEqual([...new Set(heard)]);
  expect(errors).toEqual(["internal", "internal"]);
});
