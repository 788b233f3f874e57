// Deadlines end clients that send nothing, read nothing, or only hold a connection: at the node,
// the lb and the relay.

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { eventually } from "../eventually.ts";
import { Lb } from "../lb/harness.ts";
import { TestCluster, type TestNode, type TestRelay } from "../node/harness.ts";
import { startRelay, TestLink, testFolder } from "../relay/process.ts";
import { RawWebSocket } from "./raw-web-socket.ts";

setDefaultTimeout(60_000);

const cluster = new TestCluster();
let relay: TestRelay;
let node: TestNode;
let lb: Lb;
let address: string;

beforeAll(async () => {
  relay = await cluster.relay();
  node = await cluster.node(
    [relay],
    { limits: { bufferedBytes: 64 * 1024 } },
    { socket: "node.sock", pingMs: 300 },
  );
  const flags = [
    "--relay",
    `${relay.id}=127.0.0.1:${relay.port}`,
    "--secret-file",
    join(cluster.folder, "secret"),
  ];
  lb = await Lb.start(...flags, "--stall-timeout-ms", "1000", "--half-closed-timeout-ms", "500");
  cluster.onEnd(() => lb.stop());
  address = `127.0.0.1:${lb.port}`;
});
afterAll(() => cluster[Symbol.asyncDispose]());

/** Resolves when the node and the lb have only `count` connections left. */
const left = (count: number) =>
  eventually(
    async () => node.node.status.connections === count && (await lb.counts()).connections === count,
  );

test("clients that vanish silently are disconnected; one that answers pings stays", async () => {
  using alive = await RawWebSocket.open(address);
  const vanished = await Promise.all(Array.from({ length: 30 }, () => RawWebSocket.open(address)));
  for (const client of vanished) client.socket.pause();
  await left(1);
  expect(await alive.ask({ type: "ping", id: 1 })).toMatchObject({ type: "pong" });
  for (const client of vanished) client.socket.destroy();
});

test("a client that stalls in a flood and never reads again is disconnected", async () => {
  using writer = await RawWebSocket.open(address);
  using stalled = await RawWebSocket.open(address);
  await stalled.ask({ type: "subscribe", id: 1, channel: "flood" });
  stalled.socket.pause();
  const data = "x".repeat(60_000);
  for (let n = 1; n <= 250; n++)
    await writer.ask({ type: "publish", id: n, channel: "flood", data });
  await left(1);
});

test("silent unauthenticated links do not block members, and end at the deadline", async () => {
  using folder = testFolder();
  const quiet = await startRelay(folder.path);
  using member = new TestLink(quiet.port, "member");
  await member.next("welcome");
  const strangers = Array.from({ length: 400 }, () =>
    RawWebSocket.dial(`127.0.0.1:${quiet.port}`, "\0"),
  );
  await eventually(() => strangers.filter(({ isOver }) => isOver).length >= 400 - 128);
  using newcomer = new TestLink(quiet.port, "newcomer");
  await newcomer.next("welcome");
  expect(strangers.some(({ isOver }) => !isOver)).toBe(true);
  await Promise.all(strangers.map((stranger) => stranger.ended()));
  expect((await member.open("still")).top).toBe(0);
  await quiet.kill();
});
