// What the supervisor does about processes that die, hang or cannot start. Stand-ins play the
// roles.

import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { eventually } from "../eventually.ts";
import { Cluster, isRunning, startCluster } from "./start.ts";

setDefaultTimeout(30_000);
const WELL = ["well", "well", "well"] as const;

/** Where a stand-in listens, as its log says. */
function portOf(cluster: Cluster, id: string): number {
  const log = readFileSync(join(cluster.dataDir, "logs", `${id}.log`), "utf8");
  return Number(/listening on \S*:(\d+)/.exec(log)?.[1]);
}

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

test.concurrent("a crash loop is said and tried again for ever; the others go on", async () => {
  await using cluster = await startCluster({ nodes: 2, standIns: ["well", "once", "well"] });
  const pids = async () =>
    (await cluster.status()).processes.filter(({ id }) => id !== "node-1").map(({ pid }) => pid);
  const others = await pids();
  await cluster.kill("node-1");
  const failed = await cluster.until("node-1", ({ state }) => state === "failed");
  expect(failed.reason).toContain("node-1 exits again and again (more than 5 times in 10 s)");
  expect((await cluster.run("status")).out).toContain(failed.reason ?? "none");
  expect(await pids()).toEqual(others);
  rmSync(join(cluster.dataDir, "secret-node-1-started-once"));
  const back = await cluster.until("node-1", ({ state }) => state === "up");
  expect(back.reason).toBeUndefined();
  expect(await pids()).toEqual(others);
  const { code, err } = await cluster.stop();
  expect(code).toBe(0);
  expect(err).toContain("node-1 exits again and again");
  expect(err).toContain("error: it broke on the way");
});

for (const role of ["relay", "lb"] as const)
  test.concurrent(`the ${role}'s port is taken by a stranger: the cluster waits and says so`, async () => {
    await using cluster = await startCluster({ nodes: 1, standIns: WELL });
    const port = portOf(cluster, `${role}-1`);
    const nobody = { hostname: "127.0.0.1", port, socket: { data() {} } };
    const { pid: before } = await cluster.process(`${role}-1`);
    if (before === null) throw new Error("it has no process");
    // The supervisor sleeps meanwhile: its process must not take the port again first.
    process.kill(cluster.pid, "SIGSTOP");
    process.kill(before, "SIGKILL");
    const stranger = await eventually(() => {
      try {
        return Bun.listen(nobody);
      } catch {
        return undefined;
      }
    });
    if (stranger === undefined) throw new Error("no stranger");
    process.kill(cluster.pid, "SIGCONT");
    const failed = await cluster.until(`${role}-1`, ({ state }) => state === "failed");
    expect(failed.reason).toStartWith(`${role}-1 cannot start and will try again: ${role}-1`);
    expect((await cluster.process("node-1")).restarts).toBe(0);
    stranger.stop(true);
    const back = await cluster.until(`${role}-1`, ({ state }) => state === "up");
    expect(back.pid).not.toBe(before);
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
    "node-1 exited (exit code 7) before it was ready; its last lines:\nsomething in the libraries is broken",
  ],
  [
    "dies before it is ready",
    "lb",
    ["well", "well", "early"],
    "lb-1 exited (exit code 7) before it was ready; its last lines:\nsomething in the libraries is broken",
  ],
] as const) {
  test(`a ${role} that ${what} keeps the cluster from coming up half`, async () => {
    await using cluster = new Cluster({ nodes: 1, standIns });
    const { code, out, err } = await cluster.ended();
    expect([code, out]).toEqual([1, ""]);
    expect(err).toContain(sentence);
    expect(existsSync(cluster.dataDir)).toBe(false);
  });
}
