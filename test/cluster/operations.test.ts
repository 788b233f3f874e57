// What the operator does to a running cluster. Stand-ins play the roles.

import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { eventually } from "../eventually.ts";
import { isRunning, startCluster } from "./start.ts";

setDefaultTimeout(30_000);
const WELL = ["well", "well", "well"] as const;

test("scale starts nodes, and stops the highest-numbered", async () => {
  await using cluster = await startCluster({ nodes: 2, standIns: WELL });
  const nodes = async () =>
    (await cluster.status()).processes
      .filter(({ role }) => role === "node")
      .map(({ id, state }) => `${id} ${state}`);
  expect(await cluster.run("scale", "4")).toEqual({
    code: 0,
    out: expect.stringContaining("The cluster now has 4 nodes. Clients stay where they are;"),
    err: "",
  });
  expect(await nodes()).toEqual(["node-1 up", "node-2 up", "node-3 up", "node-4 up"]);
  const kept = await cluster.process("node-1");
  const removed = await cluster.process("node-3");
  expect((await cluster.run("scale", "1")).out).toBe("The cluster now has 1 node.\n");
  expect(await nodes()).toEqual(["node-1 up"]);
  expect((await cluster.process("node-1")).pid).toBe(kept.pid);
  expect(isRunning(removed.pid ?? 0)).toBe(false);
  expect(existsSync(join(cluster.dataDir, "run/node-3.sock"))).toBe(false);
  expect((await cluster.run("scale", "1")).out).toBe("The cluster already has 1 node.\n");
});

test("a drained node stays drained, killed or restarted, until it is undrained", async () => {
  await using cluster = await startCluster({ nodes: 2, standIns: WELL });
  expect((await cluster.run("drain", "node-2")).code).toBe(0);
  expect((await cluster.process("node-2")).state).toBe("draining");
  const pid = await cluster.kill("node-2");
  await cluster.until("node-2", (now) => now.state === "draining" && now.pid !== pid);
  expect((await cluster.run("restart", "node-2")).out).toBe("Restarted node-2 as node-3.\n");
  await cluster.until("node-3", ({ state }) => state === "draining");
  expect((await cluster.run("undrain", "node-3")).code).toBe(0);
  expect((await cluster.process("node-3")).state).toBe("up");
});

test("restart without an id replaces the nodes one after another, each by one that is up already", async () => {
  await using cluster = await startCluster({ nodes: 3, standIns: WELL });
  const before = await cluster.status();
  let fewestUp = 3;
  const restart = cluster.run("restart");
  let isDone = false;
  restart.finally(() => {
    isDone = true;
  });
  while (!isDone) {
    const { processes } = await cluster.status();
    fewestUp = Math.min(
      fewestUp,
      processes.filter(({ role, state }) => role === "node" && state === "up").length,
    );
  }
  expect(await restart).toEqual({
    code: 0,
    out: "Restarted node-1, node-2, node-3 as node-4, node-5, node-6.\n",
    err: "",
  });
  expect(fewestUp).toBe(3);
  const after = await cluster.status();
  const ids = after.processes.map(({ id }) => id);
  expect(ids).toEqual(["relay-1", "node-4", "node-5", "node-6", "lb-1"]);
  for (const id of ["relay-1", "lb-1"])
    expect(after.processes.find((process) => process.id === id)).toEqual(
      before.processes.find((process) => process.id === id),
    );
  expect(after.address).toBe(before.address);
  expect(await cluster.run("restart", "relay-1")).toMatchObject({
    code: 0,
    out: "Restarted relay-1.\n",
  });
  expect(await cluster.process("relay-1")).toMatchObject({ state: "up", restarts: 1 });
});

test("an lb is replaced by one that listens on the same port before it stops to", async () => {
  await using cluster = await startCluster({ nodes: 1, standIns: WELL });
  const [host, port] = cluster.address.split(":");
  let refused = 0;
  let isDone = false;
  const knock = async () => {
    while (!isDone) {
      const listening = { hostname: host, port: Number(port), socket: { data() {} } };
      await Bun.connect(listening).then(
        (socket) => socket.end(),
        () => refused++,
      );
    }
  };
  const knocking = knock();
  const { out } = await cluster.run("restart", "lb-1");
  expect(out).toStartWith("Restarted lb-1 as lb-2; lb-1 keeps its connections until they end,");
  await eventually(async () => (await cluster.status()).processes.every(({ id }) => id !== "lb-1"));
  isDone = true;
  await knocking;
  expect(refused).toBe(0);
  expect((await cluster.status()).address).toBe(cluster.address);
  expect((await cluster.process("lb-2")).state).toBe("up");
});

test("the last node that accepts clients is not drained", async () => {
  await using cluster = await startCluster({ nodes: 2, standIns: WELL });
  expect((await cluster.run("drain", "node-1")).code).toBe(0);
  const { code, err } = await cluster.run("drain", "node-2");
  expect([code, err]).toEqual([
    1,
    'node-2 is the only node that accepts clients: start another first with "scale 3".\n',
  ]);
  expect((await cluster.process("node-2")).state).toBe("up");
});

test.concurrent("one operation at a time: another is told what the cluster is busy with; stop does not wait", async () => {
  await using cluster = await startCluster({ nodes: 1, standIns: ["well", "stubborn", "well"] });
  const restart = cluster.run("restart");
  await cluster.until("node-1", ({ state }) => state === "stopping");
  const { code, err } = await cluster.run("scale", "2");
  expect([code, err]).toEqual([
    1,
    'The cluster is busy with "restart": try again when that is done.\n',
  ]);
  const stop = cluster.run("stop");
  expect(await restart).toMatchObject({
    code: 1,
    err: "The cluster is stopping.\n",
  });
  expect((await stop).code).toBe(0);
});

test.concurrent("a broken deploy takes no node out: the restart ends and all go on as before", async () => {
  await using cluster = await startCluster({ nodes: 2, standIns: ["well", "deploy", "well"] });
  const before = (await cluster.status()).processes;
  writeFileSync(join(cluster.dataDir, "secret-deploy-is-broken"), "");
  const { code, err } = await cluster.run("restart");
  expect([code, err]).toEqual([
    1,
    "No successor of node-1 could be started; node-1, node-2 go on as before: The app does not load: mend it.\n",
  ]);
  expect((await cluster.status()).processes).toEqual(before);
  rmSync(join(cluster.dataDir, "secret-deploy-is-broken"));
});

test.concurrent("what is not there is refused by name", async () => {
  await using cluster = await startCluster({ nodes: 2, standIns: WELL });
  const refused = async (...words: string[]) => {
    const { code, out, err } = await cluster.run(...words);
    expect([code, out]).toEqual([1, ""]);
    return err;
  };
  const nodes = "it must be one of node-1, node-2.\n";
  expect(await refused("drain", "node-9")).toBe(`There is no node "node-9": ${nodes}`);
  expect(await refused("undrain", "lb-1")).toBe(`There is no node "lb-1": ${nodes}`);
  expect(await refused("restart", "node-3")).toBe(
    'There is no process "node-3": it must be one of relay-1, node-1, node-2, lb-1.\n',
  );
  expect(await refused("scale", "0")).toBe('scale "0" must be a whole number from 1 to 256.\n');
});
