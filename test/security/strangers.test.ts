// Attacks by an unauthenticated client through the lb: false origins and addresses, prototype keys,
// compressed and endless messages.

import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { startCluster } from "../cluster/start.ts";
import { turn } from "../eventually.ts";
import { clientFrame, RawWebSocket } from "./raw-web-socket.ts";

setDefaultTimeout(30_000);

const cluster = await startCluster({ nodes: 2, app: join(import.meta.dir, "app.ts") });
afterAll(() => cluster[Symbol.asyncDispose]());
const { address } = cluster;

test("a client can forge neither its address nor its host", async () => {
  const claims = { "X-Forwarded-For": "6.6.6.6", "X-Real-IP": "6.6.6.6", Forwarded: "for=6.6.6.6" };
  using client = await RawWebSocket.open(address, "/", claims);
  expect((await client.ask({ type: "address", id: 1 })).data).toBe("127.0.0.1");
  for (const claim of [
    "X-Forwarded-Host: evil.example",
    "Forwarded: host=evil.example",
    "X-Nothing: at all",
  ]) {
    const [name, value] = claim.split(": ");
    using refused = await RawWebSocket.open(address, "/", {
      Origin: "http://evil.example",
      [name]: value,
    });
    expect(refused.status).toBe(403);
  }
  for (const own of ["http://localhost", "https://localhost"]) {
    using allowed = await RawWebSocket.open(address, "/", { Origin: own });
    expect(allowed.status).toBe(101);
  }
  for (const other of [
    "null",
    "http://localhost.evil.example",
    "http://evil.localhost",
    "http://localhost:81",
    "",
  ]) {
    using refused = await RawWebSocket.open(address, "/", { Origin: other });
    expect([other, refused.status]).toEqual([other, 403]);
  }
});

test("the app authorizes every resume", async () => {
  using client = await RawWebSocket.open(address);
  const channel = "granted:1";
  await client.next("welcome");
  const { position } = await client.ask({ type: "subscribe", id: 1, channel });
  await client.ask({ type: "publish", id: 2, channel, data: "for members" });
  await client.next("message");
  await client.ask({ type: "call", id: 3, method: "revoke", params: "1" });
  expect(await client.ask({ type: "subscribe", id: 4, channel, since: position })).toMatchObject({
    code: "refused",
  });
  expect(await client.ask({ type: "history", id: 5, channel })).toMatchObject({
    code: "not_subscribed",
  });
  expect(await client.ask({ type: "subscribe", id: 6, channel, last: 10 })).toMatchObject({
    code: "refused",
  });
  expect(client.inbox).toEqual([]);
});

test("prototype key names have no effect anywhere in a frame", async () => {
  using client = await RawWebSocket.open(address);
  for (const method of ["__proto__", "constructor", "toString", "hasOwnProperty"]) {
    expect(await client.ask({ type: "call", id: method, method })).toMatchObject({
      code: "no_method",
    });
    expect(await client.ask({ type: method, id: method })).toMatchObject({ code: "no_method" });
  }
  const send = (text: string) => client.socket.write(clientFrame(text));
  send(
    '{"type":"subscribe","id":1,"channel":"room:p","since":{"__proto__":{"epoch":"e","offset":0}}}',
  );
  expect(await client.take(({ id }) => id === 1)).toMatchObject({ code: "bad_frame" });
  send('{"__proto__":{"type":"ping"},"id":2}');
  expect(await client.take(({ id }) => id === 2)).toMatchObject({ code: "bad_frame" });
  await client.ask({ type: "subscribe", id: 3, channel: "room:p" });
  send(
    '{"type":"publish","channel":"room:p","data":{"__proto__":{"admin":true},"constructor":{"prototype":{}}}}',
  );
  const { data } = await client.next("message");
  expect(JSON.stringify(data)).toBe('{"__proto__":{"admin":true},"constructor":{"prototype":{}}}');
  using other = await RawWebSocket.open(address);
  expect((await other.ask({ type: "address", id: 4 })).admin).toBeUndefined();
});

test("compression is not negotiated, and a compressed frame ends the connection", async () => {
  using client = await RawWebSocket.open(address, "/", {
    "Sec-WebSocket-Extensions": "permessage-deflate",
  });
  expect(client.head.toLowerCase()).not.toContain("permessage-deflate");
  client.socket.write(clientFrame("{}", 0xc1));
  await client.ended();
});

test("an endless fragmented message exceeds the size limit", async () => {
  using client = await RawWebSocket.open(address);
  const fragment = clientFrame("x".repeat(10_000), 0x00);
  client.socket.write(clientFrame('{"type":"publish","data":"', 0x01));
  for (let sent = 0; sent < 100 && !client.isOver; sent++) {
    client.socket.write(fragment);
    await turn();
  }
  await client.ended();
  using next = await RawWebSocket.open(address);
  expect(await next.ask({ type: "ping", id: 1 })).toMatchObject({ type: "pong" });
});

test("a frame that declares 2^63 bytes is closed at once and costs no memory", async () => {
  using client = await RawWebSocket.open(address);
  client.socket.write(
    Buffer.from([0x82, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 0]),
  );
  await client.ended();
});
