// What a client and a node say to each other, through real sockets and a real relay.

import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { Refused, type Session } from "../../src/node/app/index.ts";
import { TestCluster, type TestNode, type TestRelay } from "./harness.ts";

setDefaultTimeout(30_000);

const cluster = new TestCluster();
let relay: TestRelay;
let node: TestNode;
let other: TestNode;

const options = {
  channels: {
    "room:{name}": {},
    "short:{name}": { history: { size: 3 } },
    "none:{name}": { history: { size: 0 } },
    "seen:{name}": { presence: true },
    "closed:{name}": { subscribe: () => false },
    "broken:{name}": {
      subscribe: () => {
        throw new Error("a secret of the app");
      },
    },
    news: { publish: false as const },
    "checked:{name}": {
      publish: async (_session: unknown, data: unknown) => {
        if (data === "bad") throw new Refused("mind your words");
        // Every other one is slower than the next.
        await Bun.sleep(Number(data) % 2 === 0 ? 4 : 0);
        return typeof data === "number" ? { doubled: data * 2 } : true;
      },
    },
  },
  methods: {
    echo: (_session: unknown, params: unknown) => params,
    nothing: () => {},
    slowly: () => Bun.sleep(20).then(() => "done"),
    fails: () => {
      throw new Error("a secret of the app");
    },
    refuses: () => {
      throw new Refused("not today");
    },
    who: ({ node, user, address }: { node: string; user?: string; address: string }) => ({
      node,
      user,
      address,
    }),
    tell: (
      { cluster }: { cluster: { broadcast(data: unknown): Promise<unknown> } },
      params: unknown,
    ) => cluster.broadcast(params),
    keyed: ({ cluster }: Session, key: unknown) =>
      cluster.publish("room:keys", "the app", { key: String(key) }),
  },
};

beforeAll(async () => {
  relay = await cluster.relay();
  [node, other] = await Promise.all([
    cluster.node([relay], options, { id: "node-1" }),
    cluster.node([relay], options, { id: "node-2" }),
  ]);
});
afterAll(() => cluster[Symbol.asyncDispose]());

for (const encoding of ["json", "msgpack"] as const)
  describe(`in ${encoding}`, () => {
    const client = (at: TestNode = node) => cluster.client(at, { encoding });

    test("a welcome names the session, the node and the limits", async () => {
      const { welcome, socket } = await client();
      expect(welcome).toEqual({
        type: "welcome",
        session: expect.any(String),
        node: "node-1",
        pingMs: 25_000,
        limits: { frameBytes: 65_536, dataBytes: 64_512, subscriptions: 100, unacknowledged: 256 },
      });
      expect(socket.protocol).toBe(`tutti.v1.${encoding}`);
    });

    test("what one publishes, subscribers on every node get once, in order", async () => {
      const channel = `room:order-${encoding}`;
      const [writer, reader, far] = [await client(), await client(), await client(other)];
      const subscribed = await reader.subscribe(channel);
      expect(subscribed).toMatchObject({
        type: "ok",
        channel,
        recovered: true,
        position: { offset: 0 },
      });
      await far.subscribe(channel);
      const acknowledged = await Promise.all(
        [1, "zwei", null, { vier: [4] }, true].map((data) => writer.publish(channel, data)),
      );
      expect(acknowledged[0].channel).toBe(channel);
      expect(acknowledged.map(({ position }) => position)).toEqual(
        [1, 2, 3, 4, 5].map((offset) => ({ epoch: expect.any(String), offset })),
      );
      const all = ["1:1", '2:"zwei"', "3:null", '4:{"vier":[4]}', "5:true"];
      expect(await reader.messages(channel, 5)).toEqual(all);
      expect(await far.messages(channel, 5)).toEqual(all);
    });

    test("a message says its channel, offset, time and data", async () => {
      const reader = await client();
      await reader.subscribe(`room:shape-${encoding}`);
      await reader.publish(`room:shape-${encoding}`, { text: "grüße 🎺", n: 1.5 });
      const message = await reader.next("message");
      expect(message).toEqual({
        type: "message",
        channel: `room:shape-${encoding}`,
        offset: 1,
        time: expect.any(Number),
        data: { text: "grüße 🎺", n: 1.5 },
      });
      expect(Math.abs(Number(message.time) - Date.now())).toBeLessThan(60_000);
    });

    test("who comes back with a position gets what it missed, then what is live", async () => {
      const channel = `room:resume-${encoding}`;
      const [writer, reader] = [await client(), await client()];
      const { position } = await reader.subscribe(channel);
      for (const n of [1, 2, 3]) await writer.publish(channel, n);
      await reader.messages(channel, 3);
      reader.close();
      for (const n of [4, 5]) await writer.publish(channel, n);
      for (const at of [node, other]) {
        const again = await client(at);
        const resumed = await again.subscribe(channel, {
          since: { ...Object(position), offset: 3 },
        });
        expect(resumed).toMatchObject({ recovered: true, position: { offset: 3 } });
        expect(await again.messages(channel, 2)).toEqual(["4:4", "5:5"]);
      }
      const behind = await client();
      await behind.subscribe(channel, { since: position });
      await writer.publish(channel, 6);
      expect(await behind.messages(channel, 6)).toEqual([1, 2, 3, 4, 5, 6].map((n) => `${n}:${n}`));
    });

    test("last gives the newest, from either node, as many as there are", async () => {
      const channel = `room:last-${encoding}`;
      const writer = await client();
      for (const n of [1, 2, 3]) await writer.publish(channel, n);
      for (const at of [node, other, node]) {
        const reader = await client(at);
        expect(await reader.subscribe(channel, { last: 2 })).toMatchObject({
          position: { offset: 1 },
        });
        expect(await reader.messages(channel, 2)).toEqual(["2:2", "3:3"]);
        await reader.subscribe(channel, { last: 10 });
        expect(await reader.messages(channel, 3)).toEqual(["1:1", "2:2", "3:3"]);
      }
    });

    test("history is answered forwards and backwards, page by page", async () => {
      const channel = `room:history-${encoding}`;
      const reader = await client();
      const { position } = await reader.subscribe(channel);
      for (const n of [1, 2, 3, 4, 5]) await reader.publish(channel, n);
      const page = async (more: Record<string, unknown>) => {
        const reply = await reader.ask({ type: "history", channel, ...more });
        const data = Array.isArray(reply.data) ? reply.data.map((entry) => entry.data) : [];
        return { data, more: reply.more, offset: Object(reply.position).offset };
      };
      expect(await page({})).toEqual({ data: [1, 2, 3, 4, 5], more: false, offset: 5 });
      expect(await page({ limit: 2 })).toEqual({ data: [1, 2], more: true, offset: 5 });
      expect(await page({ since: { ...Object(position), offset: 2 }, limit: 2 })).toEqual({
        data: [3, 4],
        more: true,
        offset: 5,
      });
      expect(await page({ since: { ...Object(position), offset: 5 } })).toEqual({
        data: [],
        more: false,
        offset: 5,
      });
      expect(await page({ limit: 2, reverse: true })).toEqual({
        data: [4, 5],
        more: true,
        offset: 5,
      });
      expect(await page({ since: { ...Object(position), offset: 4 }, reverse: true })).toEqual({
        data: [1, 2, 3],
        more: false,
        offset: 5,
      });
      const first = await reader.ask({ type: "history", channel, limit: 1 });
      expect(first.data).toEqual([{ offset: 1, time: expect.any(Number), data: 1 }]);
    });

    test("presence lists who is there, and tells who comes and goes", async () => {
      const channel = `seen:presence-${encoding}`;
      const [a, b] = [await client(), await client(other)];
      await a.subscribe(channel);
      expect((await a.ask({ type: "presence", channel })).data).toEqual([
        { client: a.welcome.session },
      ]);
      await b.subscribe(channel);
      const isB = (type: string) => (message: Record<string, unknown>) =>
        message.type === type && message.client === b.welcome.session;
      expect(await a.take(isB("join"))).toEqual({
        type: "join",
        channel,
        client: b.welcome.session,
      });
      const list = (await b.ask({ type: "presence", channel })).data;
      expect(list).toBeArrayOfSize(2);
      expect(list).toContainEqual({ client: a.welcome.session });
      await b.ask({ type: "unsubscribe", channel });
      await a.take(isB("leave"));
      await b.subscribe(channel);
      await a.take(isB("join"));
      await b.subscribe(channel, { last: 1 });
      b.close();
      await a.take(isB("leave"));
      expect((await a.ask({ type: "presence", channel })).data).toEqual([
        { client: a.welcome.session },
      ]);
      expect(a.inbox.filter((message) => message.client === b.welcome.session)).toEqual([]);
    });

    test("methods answer by name and by call, and their failures are told by code", async () => {
      const asker = await client();
      const { session } = asker.welcome;
      expect(session).toBeString();
      expect(
        await asker.ask({ type: "call", method: "echo", params: [1, { two: 2 }] }),
      ).toMatchObject({
        type: "ok",
        data: [1, { two: 2 }],
      });
      const whole = await asker.ask({ type: "echo", extra: "yes" });
      expect(whole.data).toEqual({ type: "echo", extra: "yes", id: whole.id });
      expect(await asker.ask({ type: "nothing" })).toEqual({ type: "ok", id: expect.any(String) });
      expect(await asker.ask({ type: "slowly" })).toMatchObject({ data: "done" });
      expect(await asker.ask({ type: "refuses" })).toMatchObject({
        code: "refused",
        message: "not today",
        retry: false,
      });
      const failed = await asker.ask({ type: "fails" });
      expect(failed).toMatchObject({ type: "error", code: "internal" });
      expect(JSON.stringify(failed)).not.toContain("secret");
      expect(await asker.ask({ type: "call", method: "toString" })).toMatchObject({
        code: "no_method",
      });
      expect(await asker.ask({ type: "__proto__" })).toMatchObject({ code: "no_method" });
      expect(await asker.ask({ type: "who" })).toMatchObject({
        data: { node: "node-1", address: "127.0.0.1" },
      });
    });

    test("what the app broadcasts everyone hears, without a subscription", async () => {
      const [a, b] = [await client(), await client(other)];
      const { data } = await a.ask({ type: "tell", text: encoding });
      expect(data).toEqual({ epoch: expect.any(String), offset: expect.any(Number) });
      for (const each of [a, b]) {
        const heard = await each.take(
          ({ type, data }) => type === "message" && Object(data).text === encoding,
        );
        expect(heard).toMatchObject({ channel: "$everyone", offset: Object(data).offset });
      }
      expect(await b.publish("$everyone", 1)).toMatchObject({ code: "refused" });
      expect(await b.ask({ type: "unsubscribe", channel: "$everyone" })).toMatchObject({
        code: "refused",
      });
      const since = { ...Object(data), offset: Object(data).offset - 1 };
      expect(await b.subscribe("$everyone", { since })).toMatchObject({
        recovered: true,
        position: since,
      });
      expect(await b.messages("$everyone", 1)).toHaveLength(1);
      await a.ask({ type: "tell", text: "again" });
      expect(await b.messages("$everyone", 1)).toHaveLength(1);
      expect(b.inbox).toEqual([]);
    });
  });

test("a subscriber of one encoding gets what one of the other publishes", async () => {
  const [json, msgpack] = [
    await cluster.client(node),
    await cluster.client(node, { encoding: "msgpack" }),
  ];
  await json.subscribe("room:mixed");
  await msgpack.subscribe("room:mixed");
  await json.publish("room:mixed", { from: "json", n: [1, -1, 1.5, 2 ** 40] });
  await msgpack.publish("room:mixed", { from: "msgpack", n: [1, -1, 1.5, 2 ** 40] });
  const all = [
    '1:{"from":"json","n":[1,-1,1.5,1099511627776]}',
    '2:{"from":"msgpack","n":[1,-1,1.5,1099511627776]}',
  ];
  expect(await json.messages("room:mixed", 2)).toEqual(all);
  expect(await msgpack.messages("room:mixed", 2)).toEqual(all);
});

test("a repeat by seq or by key is acknowledged with the first one's offset, and seen once", async () => {
  const [writer, reader] = [await cluster.client(node), await cluster.client(other)];
  await reader.subscribe("room:repeat");
  expect(await writer.publish("room:repeat", 0, { seq: 1 })).toMatchObject({ code: "bad_frame" });
  expect(await writer.ask({ type: "connect", producer: "abcdefgh01" })).toMatchObject({
    type: "ok",
  });
  expect(await writer.ask({ type: "connect", producer: "abcdefgh01" })).toMatchObject({
    code: "already_connected",
  });
  const first = await writer.publish("room:repeat", "a", { seq: 1 });
  await writer.publish("room:repeat", "b", { seq: 2 });
  expect((await writer.publish("room:repeat", "a", { seq: 1 })).position).toEqual(first.position);
  const elsewhere = await cluster.client(other);
  await elsewhere.ask({ type: "connect", producer: "abcdefgh01" });
  expect((await elsewhere.publish("room:repeat", "a", { seq: 1 })).position).toEqual(
    first.position,
  );
  const keyed = await writer.publish("room:repeat", "k", { key: "order-17" });
  expect((await elsewhere.publish("room:repeat", "k", { key: "order-17" })).position).toEqual(
    keyed.position,
  );
  expect(await writer.publish("room:repeat", "k", { key: "order-17", seq: 3 })).toMatchObject({
    position: keyed.position,
  });
  await writer.publish("room:repeat", "end", { seq: 4, after: 3 });
  expect(await reader.messages("room:repeat", 4)).toEqual(['1:"a"', '2:"b"', '3:"k"', '4:"end"']);
  expect(reader.inbox).toEqual([]);
});

test("a client's key does not stand for the app's, whichever comes first", async () => {
  const [client, reader] = [await cluster.client(node), await cluster.client(other)];
  await reader.subscribe("room:keys");
  await client.publish("room:keys", "a client", { key: "invoice 1" });
  expect(await client.ask({ type: "call", method: "keyed", params: "invoice 1" })).toMatchObject({
    data: { offset: 2 },
  });
  await client.ask({ type: "call", method: "keyed", params: "invoice 2" });
  await client.publish("room:keys", "another client", { key: "invoice 2" });
  expect(await reader.messages("room:keys", 4)).toEqual([
    '1:"a client"',
    '2:"the app"',
    '3:"the app"',
    '4:"another client"',
  ]);
});

test("a client that does not say what is before a publication keeps its order all the same", async () => {
  const client = await cluster.client(node);
  await client.ask({ type: "connect", producer: "of old times" });
  const channel = "checked:old";
  await client.publish(channel, 1, { seq: 1 });
  // Refused for good: what follows is behind the one before.
  expect(await client.publish(channel, "bad", { seq: 2 })).toMatchObject({ code: "refused" });
  expect(await client.publish(channel, 3, { seq: 3 })).toMatchObject({ type: "ok" });
  expect(await client.publish(channel, 7, { seq: 7, after: 6 })).toMatchObject({ code: "order" });
  expect(await client.publish(channel, 7, { seq: 7, after: 3 })).toMatchObject({ type: "ok" });
});

test("seqs are counted in each channel by itself", async () => {
  const client = await cluster.client(node);
  await client.ask({ type: "connect", producer: "in two channels" });
  const publish = (channel: string, seq: number) =>
    client.publish(channel, seq, { seq, after: 0 }).then(({ position }) => Object(position).offset);
  expect(await publish("room:seqs1", 1000)).toBe(1);
  expect(await publish("room:seqs2", 1)).toBe(1);
  expect(await publish("room:seqs2", 1000)).toBe(2);
});

test("publications keep their order though the app takes its time with each", async () => {
  const [writer, reader] = [await cluster.client(node), await cluster.client(node)];
  await reader.subscribe("checked:order");
  const all = Array.from({ length: 40 }, (_, n) => n);
  const sent = all.map((n) => writer.publish("checked:order", n));
  writer.send({ type: "publish", id: "bad", channel: "checked:order", data: "bad" });
  const last = writer.publish("checked:order", "as it is");
  expect(await writer.take(({ id }) => id === "bad")).toMatchObject({
    code: "refused",
    message: "mind your words",
  });
  await Promise.all(sent);
  await last;
  expect(await reader.messages("checked:order", 41)).toEqual([
    ...all.map((n) => `${n + 1}:{"doubled":${n * 2}}`),
    '41:"as it is"',
  ]);
});

test("what history no longer holds is told as a gap, then reading goes on", async () => {
  const [writer, reader] = [await cluster.client(node), await cluster.client(other)];
  const { position } = await writer.subscribe("short:a");
  for (const n of [1, 2, 3, 4, 5]) await writer.publish("short:a", n);
  const since = { ...Object(position), offset: 0 };
  expect(await reader.subscribe("short:a", { since })).toMatchObject({
    recovered: false,
    gap: { reason: "expired", from: 1, to: 2 },
    position: { offset: 2 },
  });
  expect(await reader.messages("short:a", 3)).toEqual(["3:3", "4:4", "5:5"]);
  const page = await reader.ask({ type: "history", channel: "short:a", since });
  expect(page).toMatchObject({
    gap: { reason: "expired", from: 1, to: 2 },
    position: { offset: 5 },
    more: false,
  });
  await writer.subscribe("none:a");
  for (const n of [1, 2]) await writer.publish("none:a", n);
  const none = await reader.subscribe("none:a", { last: 5 });
  expect(none).toMatchObject({ recovered: true, position: { offset: 2 } });
  const past = { ...Object(none.position), offset: 1 };
  expect(await reader.subscribe("none:a", { since: past })).toMatchObject({
    recovered: false,
    gap: { reason: "expired", from: 2, to: 2 },
  });
  await writer.publish("none:a", 3);
  expect(await reader.messages("none:a", 1)).toEqual(["3:3"]);
});

test("a position of another lineage, or above the top, can prove nothing: now and when the top has passed it", async () => {
  const reader = await cluster.client(node);
  const { position } = await reader.subscribe("room:lineage");
  await reader.publish("room:lineage", 1);
  const above = { ...Object(position), offset: 3 };
  const gap = { reason: "epoch", from: 4, to: 1 };
  expect(await reader.subscribe("room:lineage", { since: above })).toMatchObject({
    recovered: false,
    gap,
    position: { offset: 1 },
  });
  await reader.publish("room:lineage", 2);
  expect(await reader.messages("room:lineage", 2)).toEqual(["1:1", "2:2"]);
  const foreign = { epoch: "0000", offset: 1 };
  for (const at of [node, other]) {
    const late = await cluster.client(at);
    expect(await late.subscribe("room:lineage", { since: foreign })).toMatchObject({
      recovered: false,
      gap: { reason: "epoch", from: 2, to: 2 },
      position: { epoch: Object(position).epoch, offset: 2 },
    });
  }
});

test("an unsubscribed client hears no more; one that subscribes again starts anew from where it says", async () => {
  const [writer, reader] = [await cluster.client(node), await cluster.client(node)];
  const { position } = await reader.subscribe("room:again");
  await writer.publish("room:again", 1);
  await reader.messages("room:again", 1);
  expect(await reader.ask({ type: "unsubscribe", channel: "room:again" })).toMatchObject({
    type: "ok",
  });
  await writer.publish("room:again", 2);
  expect(await reader.ask({ type: "history", channel: "room:again" })).toMatchObject({
    code: "not_subscribed",
  });
  expect(reader.inbox).toEqual([]);
  // Two resumes at once (R14): the second replaces the first, and nothing comes twice behind its
  // ok.
  reader.send({ type: "subscribe", id: "one", channel: "room:again", since: position });
  reader.send({ type: "unsubscribe", channel: "room:again" });
  reader.send({
    type: "subscribe",
    id: "two",
    channel: "room:again",
    since: { ...Object(position), offset: 1 },
  });
  await reader.take(({ id }) => id === "two");
  await writer.publish("room:again", 3);
  await reader.take(({ offset }) => offset === 3);
  const behind = reader.log.slice(reader.log.findIndex(({ id }) => id === "two") + 1);
  expect(behind.map(({ offset }) => offset)).toEqual([2, 3]);
});

test("the app has its say about every channel", async () => {
  const client = await cluster.client(node);
  expect(await client.subscribe("elsewhere")).toMatchObject({ code: "refused", retry: false });
  expect(await client.subscribe("closed:a")).toMatchObject({ code: "refused" });
  expect(await client.subscribe("broken:a")).toMatchObject({ code: "internal" });
  expect(await client.publish("elsewhere", 1)).toMatchObject({ code: "refused" });
  expect(await client.publish("news", 1)).toMatchObject({ code: "refused" });
  expect(await client.subscribe("$canary/node-1/0")).toMatchObject({ code: "refused" });
  expect(await client.subscribe("room:a:b")).toMatchObject({ code: "refused" });
  expect(await client.ask({ type: "presence", channel: "seen:x" })).toMatchObject({
    code: "not_subscribed",
  });
  await client.subscribe("room:here");
  expect(await client.ask({ type: "presence", channel: "room:here" })).toMatchObject({
    code: "refused",
  });
  expect(
    await client.subscribe("room:here", { since: { epoch: "a", offset: 1 }, last: 1 }),
  ).toMatchObject({
    code: "bad_frame",
  });
});

test("a ping is answered", async () => {
  const client = await cluster.client(node);
  expect(await client.ask({ type: "ping" })).toEqual({ type: "pong", id: expect.any(String) });
});
