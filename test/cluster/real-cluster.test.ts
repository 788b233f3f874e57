// The real cluster, all roles as they are, seen from outside: by its clients and by its operator.

import { expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync, rmSync } from "node:fs";
import { eventually } from "../eventually.ts";
import { isRunning, startCluster, untilGone } from "./start.ts";

setDefaultTimeout(60_000);

type Client = {
  readonly socket: WebSocket;
  readonly node: string;
  readonly closed: Promise<CloseEvent>;
};

/** A plain WebSocket client that has been welcomed. */
function connect(address: string): Promise<Client> {
  const welcomed = Promise.withResolvers<Client>();
  const closed = Promise.withResolvers<CloseEvent>();
  const socket = new WebSocket(`ws://${address}`, ["tutti.v1.json"]);
  socket.onclose = (event) => {
    closed.resolve(event);
    welcomed.reject(new Error(`closed with ${event.code}`));
  };
  socket.onmessage = ({ data }) => {
    const message: unknown = JSON.parse(String(data));
    if (typeof message !== "object" || message === null || !("node" in message)) return;
    welcomed.resolve({ socket, node: String(message.node), closed: closed.promise });
  };
  return welcomed.promise;
}

/** Resolves when the cluster serves a request again. */
async function untilServed(address: string): Promise<void> {
  const isServed = () =>
    fetch(`http://${address}/`).then(
      ({ status }) => status === 200,
      () => false,
    );
  await eventually(isServed);
}

test("connections are counted where they are, and every node is used", async () => {
  await using cluster = await startCluster({ nodes: 3 });
  const clients = await Promise.all(Array.from({ length: 6 }, () => connect(cluster.address)));
  const { processes } = await cluster.status();
  const counted = Object.fromEntries(processes.map(({ id, connections }) => [id, connections]));
  expect(counted).toMatchObject({ "node-1": 2, "node-2": 2, "node-3": 2, "relay-1": 4 });
  expect(counted["lb-1"]).toBeGreaterThanOrEqual(6);
  for (const id of ["node-1", "node-2", "node-3"])
    expect(clients.filter(({ node }) => node === id)).toHaveLength(2);
});

test("a killed process of each role comes back and the cluster serves again", async () => {
  await using cluster = await startCluster({
    nodes: 2,
    args: ["--relays", "2", "--lb-workers", "2"],
  });
  for (const id of ["node-1", "relay-1", "lb-1", "relay-2", "lb-2"]) {
    const pid = await cluster.kill(id);
    const back = await cluster.until(id, (now) => now.state === "up" && now.pid !== pid);
    expect(back.restarts).toBe(1);
    await untilServed(cluster.address);
    const { socket } = await connect(cluster.address);
    socket.close();
  }
});

test("stopping tells every client goodbye and leaves no process, socket file or lock", async () => {
  await using cluster = await startCluster({ nodes: 2 });
  const clients = await Promise.all(Array.from({ length: 10 }, () => connect(cluster.address)));
  const pids = (await cluster.status()).processes.flatMap(({ pid }) => pid ?? []);
  cluster.signal("SIGINT");
  expect((await cluster.ended()).code).toBe(0);
  expect((await Promise.all(clients.map(({ closed }) => closed))).map(({ code }) => code)).toEqual(
    Array(10).fill(1012),
  );
  expect(pids.filter(isRunning)).toEqual([]);
  expect(readdirSync(cluster.dataDir).sort()).toEqual(["logs", "relay-1", "secret"]);
});

test("SIGKILL of the supervisor leaves no orphan, and the next cluster starts on the same folder", async () => {
  await using cluster = await startCluster({ nodes: 2 });
  const pids = (await cluster.status()).processes.flatMap(({ pid }) => pid ?? []);
  await cluster.kill("relay-1", "SIGSTOP");
  cluster.signal("SIGKILL");
  await untilGone(pids);
  await using next = await startCluster({ nodes: 2, dataDir: cluster.dataDir });
  await untilServed(next.address);
});

test("a rolling restart fails no request, and every client is told goodbye", async () => {
  await using cluster = await startCluster({ nodes: 3 });
  const clients = await Promise.all(Array.from({ length: 6 }, () => connect(cluster.address)));
  let isDone = false;
  const statuses = new Set<number>();
  const load = (async () => {
    while (!isDone) statuses.add((await fetch(`http://${cluster.address}/`)).status);
  })();
  expect((await cluster.run("restart")).out).toBe(
    "Restarted node-1, node-2, node-3 as node-4, node-5, node-6.\n",
  );
  isDone = true;
  await load;
  expect([...statuses]).toEqual([200]);
  for (const { closed } of clients) expect((await closed).code).toBe(1012);
});

test("a rolling restart leaves the clients even", async () => {
  await using cluster = await startCluster({ nodes: 2 });
  const ended = new AbortController();
  const stay = async () => {
    while (!ended.signal.aborted) {
      const client = await connect(cluster.address).catch(() => undefined);
      await client?.closed;
    }
  };
  const clients = Array.from({ length: 20 }, stay);
  const counts = async () =>
    (await cluster.status()).processes
      .filter(({ role }) => role === "node")
      .map(({ id, connections }) => `${id} ${connections}`);
  await eventually(counts, (now) => now.join() === "node-1 10,node-2 10");
  await cluster.run("restart");
  const total = (now: string[]) => now.reduce((sum, each) => sum + Number(each.split(" ")[1]), 0);
  const after = await eventually(counts, (now) => total(now) === 20);
  expect(after).toHaveLength(2);
  for (const count of after) expect(Math.abs(Number(count.split(" ")[1]) - 10)).toBeLessThan(4);
  ended.abort();
  await cluster.stop();
  await Promise.all(clients);
});

test("a deleted data folder is said at once and survived, with its sockets", async () => {
  await using cluster = await startCluster({ nodes: 2 });
  const client = await connect(cluster.address);
  rmSync(cluster.dataDir, { recursive: true });
  const ids = async () =>
    (await cluster.status().catch(() => ({ processes: [] }))).processes.map(
      ({ id, state }) => `${id} ${state}`,
    );
  await eventually(ids, (now) => now.join() === "relay-1 up,node-3 up,node-4 up,lb-1 up");
  expect((await client.closed).code).toBe(1012);
  await untilServed(cluster.address);
  const { socket } = await connect(cluster.address);
  socket.close();
  await cluster.kill("node-3");
  await cluster.until("node-3", ({ state, restarts }) => state === "up" && restarts === 1);
  const { code, err } = await cluster.stop();
  expect(code).toBe(0);
  expect(err).toContain(`deleted while the cluster runs: ${cluster.dataDir}`);
  expect(err).toContain("the journal of relay-1");
});

test("a client stays connected while the lb is replaced", async () => {
  await using cluster = await startCluster({ nodes: 1 });
  const { socket, closed } = await connect(cluster.address);
  expect((await cluster.run("restart", "lb-1")).out).toStartWith("Restarted lb-1 as lb-2;");
  const answered = new Promise((resolve) => socket.addEventListener("message", resolve));
  socket.send(JSON.stringify({ type: "publish", id: 1, channel: "here", data: "still" }));
  await answered;
  expect((await cluster.process("lb-1")).state).toBe("draining");
  const other = await connect(cluster.address);
  expect((await cluster.process("lb-2")).connections).toBe(1);
  other.socket.close();
  socket.close();
  await closed;
  const ids = async () => (await cluster.status()).processes.map(({ id }) => id);
  await eventually(ids, (now) => !now.includes("lb-1"));
});

test("a drained node sends its clients elsewhere and gets none until it is undrained; a new node gets its share", async () => {
  await using cluster = await startCluster({ nodes: 2 });
  const clients = await Promise.all(Array.from({ length: 4 }, () => connect(cluster.address)));
  await cluster.run("drain", "node-2");
  for (const { closed } of clients.filter(({ node }) => node === "node-2"))
    expect((await closed).code).toBe(1012);
  const others = await Promise.all(Array.from({ length: 4 }, () => connect(cluster.address)));
  expect(others.map(({ node }) => node)).toEqual(Array(4).fill("node-1"));
  expect(await cluster.process("node-2")).toMatchObject({ state: "draining", connections: 0 });
  await cluster.run("scale", "3");
  await cluster.run("undrain", "node-2");
  const used = new Set<string>();
  while (!used.has("node-2") || !used.has("node-3"))
    used.add((await connect(cluster.address)).node);
});

test("status shows what each lb has counted", async () => {
  await using cluster = await startCluster({ nodes: 2 });
  expect((await fetch(`http://${cluster.address}/healthz`)).status).toBe(200);
  for (let n = 0; n < 4; n++) expect((await fetch(`http://${cluster.address}/`)).status).toBe(200);
  const { counters } = await cluster.process("lb-1");
  expect(counters?.total).toMatchObject({
    healthAnswers: 1,
    answers2xx: 4,
    requests: 4,
    exchangesNow: 0,
  });
  expect(counters?.nodes.map(({ id, health }) => `${id} ${health}`).sort()).toEqual([
    "node-1 up",
    "node-2 up",
  ]);
  const { out } = await cluster.run("status", "--counters");
  expect(out).toContain("node-2  up");
  expect(out).toContain("failures   none\n");
  expect(out).not.toContain("access log");
});
