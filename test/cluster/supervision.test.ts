// What the supervisor does about processes that die, hang or cannot start. Stand-ins play the
// roles.

import { expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync } from "node:fs";
import { Cluster, isRunning, startCluster } from "./start.ts";

setDefaultTimeout(30_000);
const WELL = ["well", "well", "well"] as const;

test("a killed process of each role comes back, at its address, and is counted", async () => {
  await using cluster = await startCluster({ nodes: 2, standIns: WELL });
  const { address } = cluster;
  for (const id of ["node-2", "lb-1", "relay-1"]) {
    const before = await cluster.process(id);
    const pid = await cluster.kill(id);
    const after = await cluster.until(id, (now) => now.state === "up" && now.pid !== pid);
    expect(after.restarts).toBe(1);
    expect(Date.parse(after.since)).toBeGreaterThan(Date.parse(before.since));
  }
  expect((await cluster.status()).address).toBe(address);
  expect((await cluster.process("node-1")).restarts).toBe(0);
});

test.concurrent("a process that hangs is killed and comes back; so does one that ends by itself", async () => {
  await using cluster = await startCluster({ nodes: 2, standIns: WELL });
  const stoppedAt = performance.now();
  const hung = await cluster.kill("node-1", "SIGSTOP");
  const ended = await cluster.kill("node-2", "SIGTERM");
  await cluster.until("node-2", ({ state, pid }) => state === "up" && pid !== ended);
  const back = await cluster.until("node-1", ({ state, pid }) => state === "up" && pid !== hung);
  expect(performance.now() - stoppedAt).toBeGreaterThan(3900);
  expect(back.restarts).toBe(1);
  expect(isRunning(hung)).toBe(false);
});

test.concurrent("a supervisor that was stopped itself blames nobody for the silence", async () => {
  await using cluster = await startCluster({ nodes: 1, standIns: WELL });
  cluster.signal("SIGSTOP");
  // Longer than a process may be silent.
  await Bun.sleep(5200);
  cluster.signal("SIGCONT");
  const { processes } = await cluster.status();
  expect(processes.map(({ restarts }) => restarts)).toEqual([0, 0, 0]);
});

test.concurrent("a crash loop ends the cluster with the end of the log", async () => {
  await using cluster = await startCluster({ nodes: 1, standIns: ["well", "once", "well"] });
  const pids = (await cluster.status()).processes.flatMap(({ pid }) => pid ?? []);
  await cluster.kill("node-1");
  const { code, err } = await cluster.ended();
  expect(code).toBe(1);
  expect(err).toContain("node-1 exited more than 5 times in 10 s, last: exit code 1; its log is ");
  expect(err).toContain("error: it broke on the way");
  expect(pids.filter(isRunning)).toEqual([]);
  expect(readdirSync(cluster.dataDir)).not.toContain("lock.db");
});

for (const [what, role, standIns, sentence] of [
  [
    "says why it cannot start",
    "node",
    ["well", "fatal", "well"],
    "The app file is missing: give another with --app.\n",
  ],
  [
    "says why it cannot start",
    "relay",
    ["fatal", "well", "well"],
    "The app file is missing: give another with --app.\n",
  ],
  [
    "dies before it is ready",
    "node",
    ["well", "early", "well"],
    "node-1 exited (exit code 7) before it was ready; its log is",
  ],
  [
    "dies before it is ready",
    "lb",
    ["well", "well", "early"],
    "lb-1 exited (exit code 7) before it was ready; its log is",
  ],
] as const) {
  test(`a ${role} that ${what} keeps the cluster from coming up half`, async () => {
    await using cluster = new Cluster({ nodes: 1, standIns });
    const { code, out, err } = await cluster.ended();
    expect([code, out]).toEqual([1, ""]);
    expect(err).toContain(sentence);
    expect(
      readdirSync(cluster.dataDir).filter((name) => name !== "logs" && name !== "secret"),
    ).toEqual([]);
  });
}
