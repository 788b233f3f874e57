// Bad input for running processes: through the lb to the nodes, and to a relay from unauthenticated
// and authenticated links. No process ends or grows, and all serve the next client. A longer run:
// TUTTI_FUZZ_INPUTS=100000 bun test test/fuzz/processes.test.ts

import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { connect } from "../../src/client/index.ts";
import { startCluster } from "../cluster/start.ts";
import { startRelay, TestLink, testFolder } from "../relay/process.ts";
import { clientFrame, handshake, RawWebSocket } from "../security/raw-web-socket.ts";
import { requestsInJson, requestsInMsgpack } from "./client-targets.ts";
import { httpRequests } from "./http-targets.ts";
import { badInput, cut } from "./mutate.ts";
import { type Random, randomFrom } from "./random.ts";
import { frames } from "./relay-targets.ts";

const INPUTS = Number(process.env.TUTTI_FUZZ_INPUTS ?? 1500);
const SEED = Number(process.env.TUTTI_FUZZ_SEED ?? crypto.getRandomValues(new Uint32Array(1))[0]);
const AT_ONCE = 20;
/** How long a connection may stay open after its last bytes. */
const PATIENCE_MS = 100;
const GROWTH_MB_MAX = 64;

setDefaultTimeout(60_000 + 20 * INPUTS);
console.log(`TUTTI_FUZZ_SEED=${SEED}`);

const rssMb = (pid: number) =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024;

/** Calls `act` for each input, AT_ONCE at a time. */
async function forEachInput(
  count: number,
  what: string,
  act: (random: Random) => Promise<void>,
): Promise<void> {
  let next = 0;
  const lane = async () => {
    while (next < count) await act(randomFrom(SEED, what, next++));
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
}

/** Sends pieces on a new connection and waits a limited time until the other side closes it. */
async function sendPieces(address: string, pieces: readonly Uint8Array[]): Promise<void> {
  using peer = RawWebSocket.dial(address, pieces[0] ?? "");
  for (const piece of pieces.slice(1)) {
    await new Promise((resolve) => setImmediate(resolve));
    peer.socket.write(piece);
  }
  await Promise.race([peer.ended(), Bun.sleep(PATIENCE_MS)]);
}

/** WebSocket frames that are almost valid. */
const webSocketFrames = [0x81, 0x82, 0x01, 0x00, 0x88, 0x89, 0xc1, 0x83].map(
  (first) => new Uint8Array(clientFrame('{"type":"ping","id":1}', first)),
);

const cluster = await startCluster({ nodes: 2 });
afterAll(() => cluster[Symbol.asyncDispose]());

test("the lb and the nodes behind it", async () => {
  const before = await cluster.status();
  const memory = new Map(before.processes.map(({ id, pid }) => [id, rssMb(pid ?? 0)]));
  const { address } = cluster;
  await forEachInput(INPUTS / 3, "http", (random) =>
    sendPieces(address, cut(badInput(httpRequests.good, random), random)),
  );
  await forEachInput(INPUTS / 3, "websocket", (random) =>
    sendPieces(address, [Buffer.from(handshake("/")), badInput(webSocketFrames, random)]),
  );
  for (const { name, good } of [requestsInJson, requestsInMsgpack]) {
    const isJson = name === requestsInJson.name;
    const opening = Buffer.from(
      handshake("/", { "Sec-WebSocket-Protocol": isJson ? "tutti.v1.json" : "tutti.v1.msgpack" }),
    );
    await forEachInput(INPUTS / 30, name, (random) => {
      const messages = Array.from({ length: 10 }, () =>
        clientFrame(badInput(good, random), isJson ? 0x81 : 0x82),
      );
      return sendPieces(address, [opening, ...messages]);
    });
  }
  await expectHonestService();
  const after = await cluster.status();
  expect(after.processes.map(({ id, pid }) => [id, pid])).toEqual(
    before.processes.map(({ id, pid }) => [id, pid]),
  );
  for (const { id, pid } of after.processes)
    expect(rssMb(pid ?? 0) - (memory.get(id) ?? 0), id).toBeLessThan(GROWTH_MB_MAX);
});

async function expectHonestService(): Promise<void> {
  const client = connect(`ws://${cluster.address}`);
  const room = client.channel<string>("honest");
  const reader = room[Symbol.asyncIterator]();
  await room.subscribe();
  await room.publish("hello");
  expect((await reader.next()).value?.data).toBe("hello");
  await client.close();
}

test("a relay, from unauthenticated links", async () => {
  const log = readFileSync(join(cluster.dataDir, "logs/relay-1.log"), "utf8");
  const address = /"address":"([^"]+)"/.exec(log)?.[1] ?? "";
  const before = await cluster.process("relay-1");
  const memory = rssMb(before.pid ?? 0);
  await forEachInput(INPUTS / 5, "stranger", (random) =>
    sendPieces(address, cut(badInput(frames.good, random), random)),
  );
  await expectHonestService();
  expect((await cluster.process("relay-1")).pid).toBe(before.pid);
  expect(rssMb(before.pid ?? 0) - memory).toBeLessThan(GROWTH_MB_MAX);
});

test("a relay, from authenticated links", async () => {
  using folder = testFolder();
  const relay = await startRelay(folder.path);
  using honest = new TestLink(relay.port, "honest");
  await honest.next("welcome");
  const { id } = await honest.open("honest");
  const memory = rssMb(relay.process.pid);
  await forEachInput(INPUTS / 5, "member", async (random) => {
    using link = new TestLink(relay.port, `fuzz-${random.below(1000)}`);
    await link.next("welcome");
    for (let count = 0; count < 3; count++) link.link.send(badInput(frames.good, random));
    await Promise.race([link.next("lost"), Bun.sleep(PATIENCE_MS / 4)]);
  });
  honest.publish(id, 1, '"hello"', { high: 77, low: 77 });
  // The other links may have published to the same channel before.
  while ((await honest.next("publication")).text !== '"hello"');
  expect(rssMb(relay.process.pid) - memory).toBeLessThan(GROWTH_MB_MAX);
  await relay.kill();
});
