// PROTOCOL.md is sufficient: an implementation written from it alone works with a real relay and a
// real cluster.

import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { type Cluster, startCluster } from "../cluster/start.ts";
import { POLICY, type RelayProcess, SECRET, startRelay, testFolder } from "../relay/process.ts";
import {
  Client,
  type Fields,
  fieldsIn,
  jsonIn,
  pack,
  RelayLink,
  unpack,
  type Value,
} from "./stranger.ts";

const FOREIGN = { epoch: "another lineage", offset: 9 };

test("the stranger's msgpack round-trips values", () => {
  const values = [
    null,
    true,
    false,
    0,
    127,
    128,
    -1,
    -33,
    2 ** 32,
    1.5,
    2n ** 64n - 1n,
    "",
    "é".repeat(300),
    [],
    {},
  ];
  expect(
    unpack(pack({ values, more: Array(20).fill([{ a: 1 }]), bytes: randomBytes(70) })),
  ).toMatchObject({ values });
});

describe("the relay protocol", () => {
  const folder = testFolder();
  let relay: RelayProcess;
  beforeAll(async () => {
    relay = await startRelay(folder.path);
  });
  afterAll(async () => {
    await relay.kill();
    folder[Symbol.dispose]();
  });

  const dial = (id: string, role?: string) => RelayLink.dial(relay.port, SECRET, id, role);

  async function open(link: RelayLink, channel: string, how: Fields = {}): Promise<Fields> {
    link.send("OPEN", {
      channel,
      live: true,
      presence: false,
      policy: POLICY,
      since: null,
      ...how,
    });
    return await link.next("OPENED");
  }

  async function publications(
    link: RelayLink,
    count: Value,
  ): Promise<[offset: Value, data: Value][]> {
    const got: [Value, Value][] = [];
    while (got.length < Number(count)) {
      const { offset, payload } = await link.next("PUBLICATION");
      got.push([offset, jsonIn(payload)]);
    }
    return got;
  }

  async function outcomes(link: RelayLink, count: number): Promise<Value[]> {
    const got: Value[] = [];
    while (got.length < count) got.push(...[(await link.next("ACK")).outcomes].flat());
    return got;
  }

  test("a publication is acknowledged with its offset and forwarded", async () => {
    using link = await dial("one");
    const { id, epoch, ...opened } = await open(link, "news");
    expect(opened).toMatchObject({
      channel: "news",
      first: 1,
      top: 0,
      gap: null,
      missed: 0,
      members: 0,
    });
    expect(epoch).toMatch(/^.{1,32}$/);
    const before = Date.now();
    const producer = 2n ** 64n - 1n;
    link.publish(id, producer, 1, { title: "hello" });
    const publication = await link.next("PUBLICATION");
    expect(publication).toMatchObject({ id, offset: 1, producer, seq: 1 });
    expect(jsonIn(publication.payload)).toEqual({ title: "hello" });
    expect(Math.abs(Number(publication.time) - before)).toBeLessThan(60_000);
    expect(await link.next("ACK")).toMatchObject({ outcomes: [1] });
  });

  test("a repeat is answered with the original's offset, an unknown channel with -2", async () => {
    using link = await dial("repeats");
    const { id } = await open(link, "repeats", { live: false });
    link.publish(id, 7n, 1, "once");
    link.publish(id, 7n, 2, "next");
    link.publish(id, 7n, 1, "once");
    link.publish(0xfffffff0, 7n, 3, "nowhere");
    expect(await outcomes(link, 4)).toEqual([1, 2, 1, -2]);
  });

  test("a publication is taken behind the one it names, keyed or not", async () => {
    using link = await dial("order");
    const { id } = await open(link, "order", { live: false });
    link.publish(id, 20n, 2, "second", { after: 1 });
    link.publish(id, 20n, 1, "first");
    link.publish(id, 21n, 2, "keyed", { order: 20n, after: 1 });
    link.publish(id, 20n, 3, "third", { after: 2 });
    link.publish(id, 21n, 1, "the same key");
    expect(await outcomes(link, 5)).toEqual([-3, 1, 2, 3, 2]);
  });

  test("missed publications come first, then live ones, over two links", async () => {
    using ann = await dial("ann");
    using bob = await dial("bob");
    const { id, epoch } = await open(ann, "talk");
    for (const seq of [1, 2, 3]) ann.publish(id, 8n, seq, `ann ${seq}`);
    await outcomes(ann, 3);
    const opened = await open(bob, "talk", { since: { epoch, offset: 1 } });
    const missed = await publications(bob, opened.missed);
    expect(missed).toEqual([
      [2, "ann 2"],
      [3, "ann 3"],
    ]);
    bob.publish(id, 9n, 1, "bob 1");
    const heard = await publications(ann, 4);
    expect(heard.at(-1)).toEqual([4, "bob 1"]);
    ann.publish(id, 8n, 4, "ann 4");
    expect([...heard.slice(1), ...(await publications(ann, 1))]).toEqual([
      ...missed,
      ...(await publications(bob, 2)),
    ]);
  });

  test("a position of another lineage, or before the oldest publication, is a gap", async () => {
    using link = await dial("gaps");
    const policy = { ...POLICY, size: 2 };
    const { id, epoch } = await open(link, "gaps", { policy });
    for (const seq of [1, 2, 3, 4, 5]) link.publish(id, 10n, seq, seq);
    await outcomes(link, 5);
    const cases: [since: Value, gap: Value, missed: number][] = [
      [FOREIGN, { reason: "epoch", from: 10, to: 5 }, 0],
      [{ epoch, offset: 1 }, { reason: "expired", from: 2, to: 3 }, 2],
    ];
    for (const [since, gap, missed] of cases) {
      link.send("CLOSE", { id });
      expect(await open(link, "gaps", { since, policy })).toMatchObject({ first: 4, gap, missed });
    }
  });

  test("history is paged, in both directions", async () => {
    using link = await dial("pages");
    const { id, epoch } = await open(link, "pages", { live: false });
    for (const seq of [1, 2, 3, 4, 5]) link.publish(id, 11n, seq, seq);
    await outcomes(link, 5);
    async function page(
      request: number,
      since: Value,
      limit: number,
      reverse: boolean,
    ): Promise<Value[]> {
      link.send("HISTORY", { request, id, since, limit, reverse });
      const answer = await link.next("PAGE");
      expect(answer).toMatchObject({ request, found: true, epoch, first: 1, top: 5, gap: null });
      return (await publications(link, answer.count)).map(([offset]) => offset);
    }
    expect(await page(1, null, 2, false)).toEqual([1, 2]);
    expect(await page(2, { epoch, offset: 2 }, 10_000, false)).toEqual([3, 4, 5]);
    expect(await page(3, null, 2, true)).toEqual([4, 5]);
    expect(await page(2 ** 32 - 1, { epoch, offset: 4 }, 2, true)).toEqual([2, 3]);
    expect(await page(5, { epoch, offset: 5 }, 9, false)).toEqual([]);
    link.send("HISTORY", { request: 6, id: 0xfffffff0, since: null, limit: 1, reverse: false });
    expect(await link.next()).toMatchObject({ request: 6, found: false, count: 0 });
  });

  test("the registry reports members that join and leave", async () => {
    using watcher = await dial("watcher", "lb");
    watcher.send("WATCH");
    expect(await watcher.next()).toEqual({ name: "REGISTRY", members: [] });
    const first = await dial("node-9");
    const record = { address: "127.0.0.1:9", state: "up", connections: 3, counts: {} };
    first.send("REGISTER", record);
    const member = { role: "node", id: "node-9", ...record };
    expect(await watcher.next()).toEqual({ name: "REGISTERED", member });
    using second = await dial("node-9");
    second.send("REGISTER", { ...record, connections: 4 });
    expect(await watcher.next()).toMatchObject({ member: { ...member, connections: 4 } });
    expect(await first.next()).toMatchObject({ name: "BYE", reason: "replaced" });
    await first.closed;
    second[Symbol.dispose]();
    expect(await watcher.next()).toEqual({ name: "DEPARTED", role: "node", id: "node-9" });
  });

  test("presence: clients enter and leave, and leave with their link", async () => {
    using seer = await dial("seer");
    const voucher = await dial("voucher");
    const { id } = await open(voucher, "hall");
    const info = Buffer.from('{"name":"Ann"}');
    voucher.send("ENTER", { id, client: "c1", info });
    await voucher.ping();
    expect((await open(seer, "hall", { presence: true })).members).toBe(1);
    expect(await seer.next()).toEqual({ name: "ENTERED", id, client: "c1", info });
    voucher.send("ENTER", { id, client: "c2", info });
    expect(await seer.next()).toMatchObject({ name: "ENTERED", client: "c2" });
    voucher.send("LEAVE", { id, client: "c1" });
    expect(await seer.next()).toEqual({ name: "LEFT", id, client: "c1" });
    voucher[Symbol.dispose]();
    expect(await seer.next()).toEqual({ name: "LEFT", id, client: "c2" });
  });

  test("channels, positions and repeats survive a restart of the relay", async () => {
    const link = await dial("witness");
    const { id, epoch } = await open(link, "lasting");
    link.publish(id, 12n, 1, "kept");
    await link.next("ACK");
    await relay.kill();
    await link.closed;
    relay = await startRelay(folder.path);
    using again = await dial("witness");
    const opened = await open(again, "lasting", { since: { epoch, offset: 0 } });
    expect(opened).toMatchObject({ id, epoch, top: 1, missed: 1 });
    expect(await publications(again, 1)).toEqual([[1, "kept"]]);
    again.publish(id, 12n, 1, "kept");
    expect(await again.next()).toEqual({ name: "ACK", outcomes: [1] });
  });

  test("PING is answered; neither side accepts a wrong proof", async () => {
    using link = await dial("pinger", "probe");
    await link.ping();
    await expect(RelayLink.dial(relay.port, "not the secret", "liar")).rejects.toThrow(
      "does not know the secret",
    );
    using liar = new RelayLink(relay.port);
    liar.send("HELLO", { version: 2, role: "node", id: "liar", nonce: randomBytes(16) });
    await liar.next("CHALLENGE");
    liar.send("PROVE", { proof: randomBytes(32) });
    expect((await liar.next()).name).toBe("BYE");
    await liar.closed;
  });

  test("a malformed frame is answered with BYE and a close", async () => {
    using link = await dial("clumsy");
    await open(link, "twice");
    link.send("OPEN", {
      channel: "twice",
      live: true,
      presence: false,
      policy: POLICY,
      since: null,
    });
    expect(await link.next()).toMatchObject({ name: "BYE", reason: "malformed" });
    await link.closed;
  });
});

describe("the client protocol", () => {
  let cluster: Cluster;
  beforeAll(async () => {
    cluster = await startCluster({ nodes: 2, app: join(import.meta.dirname, "app.ts") });
  });
  afterAll(() => cluster[Symbol.asyncDispose]());

  const open = (subprotocol?: string) => Client.open(cluster.address, subprotocol);

  test("an unknown subprotocol is not selected; JSON is used", async () => {
    const handshake = await fetch(`http://${cluster.address}`, {
      headers: {
        Connection: "Upgrade",
        Upgrade: "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": Buffer.alloc(16).toString("base64"),
        "Sec-WebSocket-Protocol": "tutti.v9.json, another",
      },
    });
    expect([handshake.status, handshake.headers.get("sec-websocket-protocol")]).toEqual([
      101,
      null,
    ]);
  });

  test.each([["none"], ["tutti.v1.json"], ["tutti.v1.msgpack"]])(
    "a whole conversation, subprotocol %s",
    async (name) => {
      const subprotocol = name === "none" ? undefined : name;
      const channel = `room:${name}`;
      await using client = await open(subprotocol);
      const { session, ...welcome } = await client.next();
      expect(welcome).toMatchObject({
        type: "welcome",
        node: expect.any(String),
        pingMs: expect.any(Number),
      });
      expect(await client.ask("connect", { producer: `stranger ${name}` })).toMatchObject({
        type: "ok",
      });

      const subscribed = await client.ask("subscribe", { channel });
      expect(subscribed).toMatchObject({
        type: "ok",
        channel,
        position: { offset: 0 },
        recovered: true,
      });
      const { epoch } = fieldsIn(subscribed.position);
      expect(await client.next()).toEqual({ type: "join", channel, client: session });
      expect(await client.ask("presence", { channel })).toMatchObject({
        channel,
        data: [{ client: session }],
      });

      const data = { text: "é", list: [1, -7, 1.5, 2 ** 33, null, true], deep: { a: {} } };
      const published = { type: "ok", channel, position: { epoch, offset: 1 } };
      expect(await client.ask("publish", { channel, data, seq: 1 })).toMatchObject(published);
      const message = await client.next({ type: "message" });
      expect(message).toMatchObject({ channel, offset: 1, data });
      expect(Math.abs(Number(message.time) - Date.now())).toBeLessThan(60_000);
      expect(await client.ask("publish", { channel, data, seq: 1 })).toMatchObject(published);
      expect(await client.ask("publish", { channel, data: 3, seq: 3, after: 2 })).toMatchObject({
        type: "error",
        code: "order",
        retry: true,
      });
      client.send({ type: "publish", channel, data: 2, seq: 2 });
      expect(await client.next()).toMatchObject({ type: "message", offset: 2, data: 2 });

      const { time } = message;
      expect(await client.ask("history", { channel, limit: 1 })).toEqual({
        ...{
          type: "ok",
          id: expect.any(Number),
          channel,
          position: { epoch, offset: 2 },
          more: true,
        },
        data: [{ offset: 1, time, data }],
      });
      expect(await client.ask("call", { method: "double", params: 21 })).toMatchObject({
        type: "ok",
        data: 42,
      });
      const params = { type: "echo", id: "text", extra: [] };
      client.send(params);
      expect(await client.next({ id: "text" })).toEqual({ type: "ok", id: "text", data: params });
      expect((await client.ask("ping")).type).toBe("pong");
      expect(await client.ask("unsubscribe", { channel })).toMatchObject({ type: "ok" });
    },
  );

  test("a client resumes over another connection; a foreign epoch is a gap", async () => {
    const channel = "room:resumed";
    await using writer = await open();
    for (const data of [1, 2, 3, 4, 5]) await writer.ask("publish", { channel, data });
    await using reader = await open("tutti.v1.msgpack");
    const newest = await reader.ask("subscribe", { channel, last: 1 });
    expect(newest).toMatchObject({ position: { offset: 4 }, recovered: true });
    expect(await reader.next({ type: "message" })).toMatchObject({ offset: 5 });
    const { epoch } = fieldsIn(newest.position);

    const resumed = await reader.ask("subscribe", { channel, since: { epoch, offset: 3 } });
    expect(resumed).toMatchObject({ position: { epoch, offset: 3 }, recovered: true });
    expect(resumed).not.toContainKey("gap");
    for (const offset of [4, 5])
      expect(await reader.next({ type: "message" })).toMatchObject({ offset, data: offset });
    await writer.ask("publish", { channel, data: 6 });
    expect(await reader.next({ type: "message" })).toMatchObject({ offset: 6, data: 6 });

    expect(await reader.ask("subscribe", { channel, since: { epoch, offset: 0 } })).toMatchObject({
      ...{ position: { epoch, offset: 2 }, recovered: false },
      gap: { reason: "expired", from: 1, to: 2 },
    });
    for (const offset of [3, 4, 5, 6])
      expect(await reader.next({ type: "message" })).toMatchObject({ offset });
    expect(await reader.ask("subscribe", { channel, since: FOREIGN })).toMatchObject({
      ...{ position: { epoch, offset: 6 }, recovered: false },
      gap: { reason: "epoch", from: 10, to: 6 },
    });
    const back = await reader.ask("history", {
      channel,
      since: { epoch, offset: 6 },
      limit: 2,
      reverse: true,
    });
    expect(back).toMatchObject({
      position: { offset: 6 },
      data: [{ offset: 4 }, { offset: 5 }],
      more: true,
    });
    await writer.ask("publish", { channel, data: 7 });
    expect(await reader.next({ type: "message" })).toMatchObject({ offset: 7 });
  });

  test("each error has its code", async () => {
    await using client = await open();
    const { limits } = await client.next();
    const { dataBytes, subscriptions } = fieldsIn(limits);
    await client.ask("connect");
    const cases: [type: string, fields: Fields, code: string][] = [
      ["connect", {}, "already_connected"],
      ["subscribe", { channel: "white space" }, "bad_frame"],
      ["subscribe", { channel: "locked" }, "refused"],
      ["subscribe", { channel: "$ours" }, "refused"],
      ["publish", { channel: "plain", data: 1, seq: 1 }, "bad_frame"],
      ["publish", { channel: "plain", data: "x".repeat(Number(dataBytes)) }, "too_large"],
      ["history", { channel: "plain" }, "not_subscribed"],
      ["presence", { channel: "plain" }, "not_subscribed"],
      ["call", { method: "nothing" }, "no_method"],
      ["nothing", {}, "no_method"],
      ["fail", {}, "internal"],
    ];
    for (const [type, fields, code] of cases)
      expect(await client.ask(type, fields)).toMatchObject({ type: "error", code, retry: false });
    for (let n = 1; n < Number(subscriptions); n++)
      await client.ask("subscribe", { channel: `many-${n}` });
    expect(await client.ask("subscribe", { channel: "plain" })).toMatchObject({ type: "ok" });
    expect(await client.ask("subscribe", { channel: "one-more" })).toMatchObject({ code: "limit" });
    for (let n = 0; n < 20; n++) client.sendRaw("no JSON");
    expect(await client.next({ type: "error" })).toMatchObject({ code: "bad_frame" });
    expect(await client.closed).toBe(4400);
  });

  test("every client receives $everyone, and catches up on it", async () => {
    await using ann = await open();
    await using bob = await open("tutti.v1.msgpack");
    for (const client of [ann, bob]) expect((await client.next()).type).toBe("welcome");
    const message = { type: "message", channel: "$everyone", offset: 1, data: { to: "all" } };
    expect(await ann.ask("call", { method: "announce", params: { to: "all" } })).toMatchObject({
      type: "ok",
    });
    for (const client of [ann, bob]) expect(await client.next()).toMatchObject(message);
    const { position } = await bob.ask("subscribe", { channel: "$everyone" });
    await bob.ask("subscribe", {
      channel: "$everyone",
      since: { ...fieldsIn(position), offset: 0 },
    });
    expect(await bob.next()).toMatchObject(message);
  });

  test("a client whose node drains reconnects, and publishes once", async () => {
    const connect = { producer: "a random text" };
    const publish = { channel: "room:moving", data: "once", seq: 1 };
    await using client = await open();
    const { node } = await client.next();
    await client.ask("connect", connect);
    const { position } = await client.ask("publish", publish);
    await cluster.run("drain", String(node));
    expect(await client.next({ type: "goodbye" })).toMatchObject({
      reconnectAfterMs: expect.any(Number),
    });
    expect(await client.closed).toBe(1012);
    await using again = await open();
    expect((await again.next()).node).not.toBe(node);
    await again.ask("connect", connect);
    expect(await again.ask("publish", publish)).toMatchObject({ position });
  });
});

test("with token authentication, the welcome follows the token", async () => {
  await using cluster = await startCluster({
    nodes: 1,
    app: join(import.meta.dirname, "token-app.ts"),
  });
  await using client = await Client.open(cluster.address);
  expect(await client.ask("subscribe", { channel: "cave" })).toMatchObject({
    code: "not_connected",
  });
  client.send({ type: "connect", id: "in", token: "open sesame" });
  const { session } = await client.next({ type: "welcome" });
  expect(await client.next()).toEqual({ type: "ok", id: "in" });
  await client.ask("subscribe", { channel: "cave" });
  expect(await client.next()).toEqual({
    type: "join",
    channel: "cave",
    client: session,
    info: { name: "Ali" },
  });

  await using liar = await Client.open(cluster.address, "tutti.v1.msgpack");
  expect(await liar.ask("connect", { token: "open barley" })).toMatchObject({ code: "refused" });
  expect(await liar.closed).toBe(4401);
});
