// How a cluster starts and ends. Stand-ins play the roles: what is tested is the supervision.

import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import {
  Cluster,
  isRunning,
  runCommand,
  startCluster,
  temporaryFolder,
  untilGone,
} from "./start.ts";

setDefaultTimeout(30_000);
const WELL = ["well", "well", "well"] as const;

async function pidsOf(cluster: Cluster): Promise<number[]> {
  return (await cluster.status()).processes.flatMap(({ pid }) => pid ?? []);
}

/** When a stand-in wrote this line, by its own clock. */
function when(cluster: Cluster, id: string, line: string): number {
  const log = readFileSync(join(cluster.dataDir, "logs", `${id}.log`), "utf8");
  return Number(new RegExp(`"msg":"(\\S+) ${line}"`).exec(log)?.[1]);
}

test("the screen names every process, and status says the same in exactly this shape", async () => {
  await using cluster = await startCluster({ nodes: 2, standIns: WELL });
  const status: unknown = JSON.parse((await cluster.run("status", "--json")).out);
  const text = expect.any(String);
  const up = (role: string, id: string) => ({
    role,
    id,
    state: "up",
    connections: 0,
    restarts: 0,
    pid: expect.any(Number),
    since: text,
  });
  expect(status).toStrictEqual({
    address: cluster.address,
    scheme: "http",
    relayProtocol: 2,
    processes: [
      up("relay", "relay-1"),
      up("node", "node-1"),
      up("node", "node-2"),
      up("lb", "lb-1"),
    ],
  });
  for (const { id, pid } of (await cluster.status()).processes)
    expect(cluster.screen).toMatch(new RegExp(`${id} +pid ${pid}\n`));
  expect(cluster.screen).toContain(`http://${cluster.address}\n`);
  expect(cluster.screen).toContain(`cluster stop --data ${cluster.dataDir}\n`);
  expect((await cluster.run("status")).out).toMatch(
    /ROLE +ID +PID +STATE.*\nrelay +relay-1 +\d+ +up/,
  );
});

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  test(`${signal} stops lb, then nodes, then relays, and leaves nothing`, async () => {
    await using cluster = await startCluster({
      nodes: 2,
      standIns: WELL,
      args: ["--lb-workers", "2", "--relays", "2"],
    });
    const pids = await pidsOf(cluster);
    expect(pids).toHaveLength(6);
    cluster.signal(signal);
    const { code, err } = await cluster.ended();
    expect([code, err]).toEqual([0, expect.stringContaining('"msg":"stopping"')]);
    expect(pids.filter(isRunning)).toEqual([]);
    expect(readdirSync(cluster.dataDir).sort()).toEqual(["logs", "secret"]);
    const stopped = (id: string) => when(cluster, id, "told to stop");
    expect(Math.max(stopped("lb-1"), stopped("lb-2"))).toBeLessThan(
      Math.min(stopped("node-1"), stopped("node-2")),
    );
    expect(Math.max(stopped("node-1"), stopped("node-2"))).toBeLessThan(
      Math.min(stopped("relay-1"), stopped("relay-2")),
    );
  });
}

test("a second Ctrl-C ends at once what does not want to stop; the echo that npm makes of the first does not", async () => {
  await using cluster = await startCluster({ nodes: 1, standIns: ["well", "well", "stubborn"] });
  const pids = await pidsOf(cluster);
  cluster.signal("SIGINT");
  cluster.signal("SIGINT");
  await cluster.until("lb-1", ({ state }) => state === "stopping");
  await Bun.sleep(600);
  expect(pids.every(isRunning)).toBe(true);
  cluster.signal("SIGINT");
  expect((await cluster.ended()).code).toBe(130);
  await untilGone(pids);
  expect(readdirSync(cluster.dataDir).sort()).toEqual(["logs", "secret"]);
});

test("a cluster that is still starting can be asked, and stopped", async () => {
  await using cluster = new Cluster({ nodes: 1, standIns: ["well", "loading", "well"] });
  await cluster.listening();
  await cluster.until("node-1", ({ state, pid }) => state === "starting" && pid !== null);
  const pids = await pidsOf(cluster);
  const { code, err } = await cluster.run("scale", "2");
  expect([code, err]).toEqual([
    1,
    'The cluster is busy with "start": try again when that is done.\n',
  ]);
  cluster.signal("SIGINT");
  expect(await cluster.ended()).toMatchObject({ code: 0, out: "" });
  expect(pids.filter(isRunning)).toEqual([]);
  expect(existsSync(cluster.dataDir)).toBe(false);
});

test("cluster stop returns when the cluster is gone", async () => {
  await using cluster = await startCluster({ nodes: 1, standIns: WELL });
  const pids = await pidsOf(cluster);
  expect(await cluster.run("stop")).toEqual({
    code: 0,
    out: "The cluster has stopped.\n",
    err: "",
  });
  expect(pids.filter(isRunning)).toEqual([]);
  expect(existsSync(join(cluster.dataDir, "lock.db"))).toBe(false);
  expect((await cluster.ended()).code).toBe(0);
  const { code, err } = await cluster.run("stop");
  expect([code, err]).toEqual([
    1,
    expect.stringContaining(`No cluster is running on ${cluster.dataDir}: start one with`),
  ]);
});

test("SIGKILL of the supervisor leaves no orphan, not even a stopped one, and the folder can be used again", async () => {
  await using cluster = await startCluster({ nodes: 2, standIns: WELL });
  const pids = await pidsOf(cluster);
  await cluster.kill("node-1", "SIGSTOP");
  cluster.signal("SIGKILL");
  await untilGone(pids);
  expect(existsSync(join(cluster.dataDir, "admin.sock"))).toBe(true);
  const { code, err } = await cluster.run("status");
  expect([code, err]).toEqual([1, expect.stringContaining("No cluster is running on")]);
  await using next = await startCluster({ nodes: 2, standIns: WELL, dataDir: cluster.dataDir });
  expect((await next.process("node-1")).state).toBe("up");
});

/**
 * Starts a cluster by a shell that runs `CLUSTER`; resolves to the shell and the supervisor's pid
 * when it is up.
 */
async function startByShell(command: string, dataDir: string, env: object) {
  const script = join(import.meta.dirname, "stand-ins/cluster.ts");
  const cluster = `${process.execPath} ${script} well well well --nodes 1 --port 0 --data ${dataDir}`;
  const shell = Bun.spawn(["sh", "-c", command.replace("CLUSTER", cluster)], {
    env: { ...process.env, ...env },
    stdout: "pipe",
    stderr: "ignore",
  });
  let screen = "";
  for await (const chunk of shell.stdout) {
    screen += new TextDecoder().decode(chunk);
    if (screen.includes("tutti is up")) break;
  }
  return { shell, pid: Number(readFileSync(join(dataDir, "cluster.pid"), "utf8")) };
}

test("a cluster whose npm or bun run was killed stops in order", async () => {
  await using folder = await temporaryFolder();
  const { shell, pid } = await startByShell("CLUSTER & wait", folder.path, {
    npm_lifecycle_event: "cluster",
  });
  expect(isRunning(pid)).toBe(true);
  shell.kill("SIGKILL");
  await untilGone([pid]);
  expect(readdirSync(folder.path).sort()).toEqual(["logs", "secret"]);
});

test("a cluster that was started with nohup outlives its terminal", async () => {
  await using folder = await temporaryFolder();
  const { shell, pid } = await startByShell("trap '' HUP; exec CLUSTER", folder.path, {});
  process.kill(pid, "SIGHUP");
  expect((await runCommand(["scale", "2", "--data", folder.path])).out).toEqual(
    expect.stringContaining("The cluster now has 2 nodes."),
  );
  expect((await runCommand(["stop", "--data", folder.path])).code).toBe(0);
  expect(await shell.exited).toBe(0);
});
