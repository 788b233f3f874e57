// Who is let in, and as whom.

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { type AppOptions, type Attempt, Refused } from "../../src/node/app/index.ts";
import { type ClientSettings, TestCluster, type TestNode, type TestRelay } from "./harness.ts";

setDefaultTimeout(30_000);

const cluster = new TestCluster();
let relay: TestRelay;
beforeAll(async () => {
  relay = await cluster.relay();
});
afterAll(() => cluster[Symbol.asyncDispose]());

const who: AppOptions<string>["methods"] = {
  who: ({ user, info, data, address }) => ({ user, info, data, address }),
};

/** The status of the answer to a handshake. */
async function handshake(
  node: TestNode,
  headers: Record<string, string> = {},
): Promise<[number, string]> {
  const answer = await fetch(`http://${node.address}/`, {
    headers: {
      Upgrade: "websocket",
      Connection: "Upgrade",
      "Sec-WebSocket-Version": "13",
      "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
      ...headers,
    },
  });
  return [answer.status, answer.status === 101 ? "" : (await answer.text()).trim()];
}

for (const isAsync of [false, true])
  test(`connect sees the request and says who it is${isAsync ? ", in its own time" : ""}`, async () => {
    const decide = ({ request, token }: Attempt) => {
      if (request.headers.get("cookie") === "user=eve") throw new Refused("not you");
      if (request.headers.get("cookie") === "user=bug") throw new Error("a secret of the app");
      return {
        user: request.headers.get("cookie") ?? "nobody",
        info: { token },
        data: new URL(request.url).search,
      };
    };
    const connect = isAsync
      ? (attempt: Attempt) => Bun.sleep(10).then(() => decide(attempt))
      : decide;
    const node = await cluster.node([relay], { connect, methods: who });
    const client = await cluster.client(node, {
      headers: { cookie: "user=ada" },
      path: "/any/path?x=1",
    });
    expect((await client.ask({ type: "who" })).data).toEqual({
      user: "user=ada",
      info: {},
      data: "?x=1",
      address: "127.0.0.1",
    });
    expect(await handshake(node, { cookie: "user=eve" })).toEqual([401, "not you"]);
    expect(await handshake(node, { cookie: "user=bug" })).toEqual([
      500,
      "The app failed to answer.",
    ]);
    expect(node.node.status.connections).toBe(1);
  });

const byToken = (connect: AppOptions<string>["connect"], connectMs = 10_000) =>
  cluster.node([relay], { auth: "token", connect, methods: who }, { connectMs });

const tokenApp: AppOptions<string>["connect"] = async ({ token, request }) => {
  await Bun.sleep(5);
  if (token === "wrong") throw new Refused("no such token");
  if (token === "bug") throw new Error("a secret of the app");
  return { user: token, data: request.headers.get("x-extra") };
};

test("with token authentication the first frame says who it is; what follows waits for that", async () => {
  const node = await byToken(tokenApp);
  const client = await cluster.client(node, { isGreeted: false, headers: { "x-extra": "kept" } });
  expect(await client.ask({ type: "who" })).toMatchObject({ code: "not_connected" });
  expect(await client.ask({ type: "ping" })).toMatchObject({ type: "pong" });
  expect(await client.ask({ type: "connect" })).toMatchObject({ code: "bad_frame" });
  client.send({ type: "connect", id: "c", token: "ada" });
  const answer = await client.ask({ type: "who" });
  expect(answer.data).toEqual({ user: "ada", data: "kept", address: "127.0.0.1" });
  expect(client.log.slice(-3).map(({ type, id }) => id ?? type)).toEqual([
    "welcome",
    "c",
    answer.id,
  ]);
});

test("a wrong token is told and closed; a failure of the app is not the client's to see", async () => {
  const node = await byToken(tokenApp);
  for (const [token, code, close] of [
    ["wrong", "refused", 4401],
    ["bug", "internal", 1011],
  ] as const) {
    const client = await cluster.client(node, { isGreeted: false });
    const answer = await client.ask({ type: "connect", token });
    expect(answer).toMatchObject({ type: "error", code });
    expect(JSON.stringify(answer)).not.toContain("secret");
    expect((await client.closed).code).toBe(close);
  }
});

test("who does not connect in time is closed", async () => {
  const node = await byToken(tokenApp, 100);
  const client = await cluster.client(node, { isGreeted: false });
  expect((await client.closed).code).toBe(4408);
});

test("a client whose leave runs out is closed while it is connected, and others are not", async () => {
  const node = await byToken(({ token }) => ({
    user: token,
    ...(token === "brief" ? { expiresAtMs: Date.now() + 200 } : {}),
  }));
  const [brief, lasting] = await Promise.all(
    ["brief", "lasting"].map(async (token) => {
      const client = await cluster.client(node, { isGreeted: false });
      expect(await client.ask({ type: "connect", token })).toMatchObject({ type: "ok" });
      return client;
    }),
  );
  expect((await brief.closed).code).toBe(4402);
  expect(await lasting.ask({ type: "who" })).toMatchObject({ data: { user: "lasting" } });
});

test("a producer's name says nothing about another user's publications", async () => {
  const node = await byToken(({ token }) => ({ user: token }));
  const offsets = [];
  for (const token of ["ada", "bob", "ada"]) {
    const client = await cluster.client(node, { isGreeted: false });
    await client.ask({ type: "connect", token, producer: "same producer" });
    await client.subscribe("room");
    offsets.push(Object((await client.publish("room", token, { seq: 1 })).position).offset);
    offsets.push(
      Object((await client.publish("room", token, { key: "same key" })).position).offset,
    );
  }
  expect(offsets).toEqual([1, 2, 3, 4, 1, 2]);
});

test("presence shows the info of those who are there, and nothing else of them", async () => {
  const node = await cluster.node([relay], {
    connect: () => ({ user: "ada", info: { name: "Ada" }, data: "secret" }),
    channels: { "seen:{name}": { presence: true } },
  });
  const client = await cluster.client(node);
  await client.subscribe("seen:info");
  const { session } = client.welcome;
  expect((await client.ask({ type: "presence", channel: "seen:info" })).data).toEqual([
    { client: session, info: { name: "Ada" } },
  ]);
  expect(await client.next("join")).toEqual({
    type: "join",
    channel: "seen:info",
    client: session,
    info: { name: "Ada" },
  });
});

test("an answer of connect that cannot be used is the app's failure", async () => {
  for (const answer of [
    { user: "" },
    { user: "x".repeat(201) },
    { info: "x".repeat(1025) },
    { expiresAtMs: Number.NaN },
  ]) {
    const node = await cluster.node([relay], { connect: () => answer });
    expect((await handshake(node))[0]).toBe(500);
  }
});

test("pages of other origins may not use the browser's credentials, unless they are named", async () => {
  const connect = () => ({ user: "by cookie" });
  const same = await cluster.node([relay], { connect });
  const status = async (node: TestNode, origin: string) =>
    (await handshake(node, { Origin: origin }))[0];
  expect(await status(same, `http://${same.address}`)).toBe(101);
  expect(await status(same, `https://${same.address}`)).toBe(101);
  for (const origin of [
    "http://evil.example",
    "null",
    `http://${same.address}.evil.example`,
    `http://x${same.address}`,
  ])
    expect(await status(same, origin)).toBe(403);
  const secure = { "X-Forwarded-Proto": "https", Origin: `http://${same.address}` };
  expect((await handshake(same, secure))[0]).toBe(403);
  const known = await cluster.node([relay], { connect }, { publicHosts: ["app.example"] });
  expect(await status(known, "https://app.example")).toBe(101);
  expect(await status(known, `http://${known.address}`)).toBe(403);
  const named = await cluster.node([relay], { connect, origins: ["https://app.example"] });
  expect(await status(named, "https://app.example")).toBe(101);
  for (const origin of [
    "http://app.example",
    "https://app.example.evil.example",
    "https://evil-app.example",
    "null",
  ])
    expect(await status(named, origin)).toBe(403);
  expect(
    await status(await cluster.node([relay], { connect, origins: "*" }), "http://evil.example"),
  ).toBe(101);
  expect(await status(await cluster.node([relay], {}), "http://any.example")).toBe(101);
});

test("behind the lb's unix socket the client's address is the one that the lb decided on; over TCP nobody is believed", async () => {
  const headers = { "X-Forwarded-For": "6.6.6.6, 10.1.2.3, 127.0.0.1", "X-Real-IP": "10.1.2.3" };
  const settings: ClientSettings = { headers };
  const behind = await cluster.node([relay], { methods: who }, { socket: "node.sock" });
  expect((await (await cluster.client(behind, settings)).ask({ type: "who" })).data).toEqual({
    address: "10.1.2.3",
  });
  const open = await cluster.node([relay], { methods: who });
  expect((await (await cluster.client(open, settings)).ask({ type: "who" })).data).toEqual({
    address: "127.0.0.1",
  });
});

test("a client that names no subprotocol of ours speaks JSON", async () => {
  const node = await cluster.node([relay]);
  const socket = new WebSocket(`ws://${node.address}/`);
  const { data } = await new Promise<MessageEvent>((resolve) =>
    socket.addEventListener("message", resolve),
  );
  expect(JSON.parse(data).type).toBe("welcome");
  expect(socket.protocol).toBe("");
  socket.close();
});

test("the app's HTTP answers stand beside the WebSockets, on the same paths", async () => {
  const options: AppOptions<string> = {
    fetch: (request, { node }) => {
      if (request.url.endsWith("/fails")) throw new Error("a secret of the app");
      return new Response(`${node} ${new URL(request.url).pathname}`);
    },
    routes: {
      "/item/:id": ({ params }, { node }) => new Response(`${node} has ${params.id}`),
      "/form": { POST: async (request) => new Response((await request.text()).toUpperCase()) },
      "/fixed": new Response("fixed"),
      "/healthz": () => new Response("not for the app"),
      "/below/*": () => new Response("anything below"),
    },
  };
  const node = await cluster.node([relay], options, { id: "http" });
  const text = async (path: string, init?: RequestInit) =>
    (await fetch(`http://${node.address}${path}`, init)).text();
  expect(await text("/any")).toBe("http /any");
  expect(await text("/item/7")).toBe("http has 7");
  expect(await text("/form", { method: "POST", body: "abc" })).toBe("ABC");
  expect(await text("/fixed")).toBe("fixed");
  expect(await text("/fails")).toBe("The app failed to answer.\n");
  expect(await text("/below/x/y")).toBe("anything below");
  expect(JSON.parse(await text("/healthz"))).toMatchObject({ node: "http", state: "up" });
  for (const path of ["/item/7", "/any", "/healthz", "/fixed", "/below/x"])
    await cluster.client(node, { path });
  const bare = await cluster.node([relay]);
  expect((await fetch(`http://${bare.address}/any`)).status).toBe(404);
});
