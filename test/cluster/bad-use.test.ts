// Whatever an operator can get wrong: one sentence that says what and what to do, exit code 1, and
// nothing left behind.

import { afterAll, afterEach, beforeEach, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { clusterStatus } from "../../src/cluster/report/status.ts";
import { Cluster, runCommand, startCluster } from "./start.ts";

setDefaultTimeout(30_000);

const folder = mkdtempSync(join(tmpdir(), "tutti-"));
const work = join(folder, "work");
const data = join(work, "data");
const file = (name: string, text: string): string => {
  writeFileSync(join(work, name), text);
  return join(work, name);
};

beforeEach(() => mkdirSync(work));
afterEach(() => rmSync(work, { recursive: true, force: true }));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Runs a command in the work folder, which must fail; resolves to what it says. */
async function refusal(words: readonly string[], env: object = {}): Promise<string> {
  const { code, out, err } = await runCommand(words, { cwd: work, env });
  expect([code, out]).toEqual([1, ""]);
  return err;
}

/** A start that must fail once processes run; resolves to what it says. */
async function failedStart(...flags: string[]): Promise<string> {
  return await failedStartIn({}, ...flags);
}

async function failedStartIn(env: object, ...flags: string[]): Promise<string> {
  const wasThere = existsSync(data);
  const err = await refusal(["--nodes", "2", "--port", "0", "--data", data, ...flags], env);
  expect(existsSync(data)).toBe(wasThere);
  return err;
}

test("flags, values and keys of the config file that do not exist", async () => {
  expect(await refusal(["--nods", "4"])).toStartWith("Unknown option '--nods'.");
  expect(await refusal(["--nodes", "none"])).toBe(
    '--nodes "none" must be a whole number from 1 to 256.\n',
  );
  expect(await refusal([], { TUTTI_PORT: "http" })).toBe(
    'TUTTI_PORT "http" must be a whole number from 0 to 65535.\n',
  );
  expect(await refusal(["--nodes", "-1"])).toBe(
    '--nodes "-1" must be a whole number from 1 to 256.\n',
  );
  expect(await refusal(["scale", "-1"])).toBe('scale "-1" must be a whole number from 1 to 256.\n');
  expect(await refusal([], { TUTTI_NODE: "4" })).toBe(
    "TUTTI_NODE is not a variable of tutti: did you mean TUTTI_NODES?\n",
  );
  expect(await refusal([], { TUTTI_WORKERS: "4" })).toBe(
    "TUTTI_WORKERS is not a variable of tutti: did you mean TUTTI_LB_WORKERS?\n",
  );
  expect(await refusal(["stort"])).toStartWith('There is no command "stort".');
  file("tutti.config.ts", "export default { node: 4 };");
  expect(await refusal([])).toStartWith(
    '"node" in tutti.config.ts is not a setting: did you mean nodes?\n',
  );
  file("tutti.config.ts", "export default { threads: 4 };");
  expect(await refusal([])).toStartWith(
    '"threads" in tutti.config.ts is not a setting: use nodes, host, port,',
  );
  expect(readdirSync(work)).toEqual(["tutti.config.ts"]);
});

test("config files that cannot be used", async () => {
  expect(await refusal(["--config", "x.ts"])).toBe(
    "The config file x.ts does not exist: check --config.\n",
  );
  file("throws.ts", 'throw new Error("no such luck");');
  expect(await refusal(["--config", "throws.ts"])).toBe(
    "The config file throws.ts cannot be loaded: no such luck\n",
  );
  file("nothing.ts", "export const nodes = 4;");
  expect(await refusal(["--config", "nothing.ts"])).toBe(
    "The config file nothing.ts must export default { nodes: 4, … }.\n",
  );
  const [first] = (await refusal(["--config", file("syntax.ts", "export default {")])).split(":");
  expect(first).toStartWith("The config file ");
});

test("flags that the lb refuses: its own sentence", async () => {
  expect(await failedStart("--lb-flags", "--rise 0")).toContain(
    '--rise "0" must be a whole number from 1 to 1000.\n',
  );
  expect(await failedStart("--lb-flags", "--rice 1")).toContain("Unknown option '--rice'");
  expect(await failedStart("--trust", "10.0.0.0/33")).toContain(
    '--trust "10.0.0.0/33" is not an address',
  );
  expect(await failedStartIn({ TUTTI_TRUST: "10.0.0.0/33" })).toStartWith(
    'TUTTI_TRUST "10.0.0.0/33" is not an address',
  );
  expect(await failedStart("--tls-cert", "a.pem")).toContain(
    "--tls-cert and --tls-key go in pairs",
  );
  expect(await failedStart("--proxy-protocol")).toContain("--proxy-protocol needs --trust");
  expect(await failedStart("--access-log", "no/such/folder")).toContain(
    `--access-log ${join(work, "no/such/folder")} cannot be opened (ENOENT)`,
  );
});

test("commands where no cluster runs", async () => {
  const commands = [
    ["status"],
    ["status", "--json"],
    ["scale", "3"],
    ["drain", "node-1"],
    ["restart"],
    ["stop"],
  ];
  const said = await Promise.all(commands.map((words) => refusal([...words, "--data", data])));
  const sentence = `No cluster is running on ${data}: start one with "bun run cluster", or say which one with --data.\n`;
  expect(said).toEqual(commands.map(() => sentence));
  expect(existsSync(data)).toBe(false);
});

test("a port that is taken, by a socket that would share it too", async () => {
  const shares = { hostname: "127.0.0.1", port: 0, reusePort: true, socket: { data() {} } };
  const listener = Bun.listen(shares);
  const port = String(listener.port);
  const sentence = `Port ${port} of 127.0.0.1 is in use: stop what listens there, or choose another with --port.\n`;
  for (const workers of ["1", "2"])
    expect(await refusal(["--port", port, "--lb-workers", workers, "--data", data])).toBe(sentence);
  expect(existsSync(data)).toBe(false);
  listener.stop(true);
});

test("two clusters on one data folder", async () => {
  await using cluster = await startCluster({ nodes: 1 });
  const runs = async () =>
    (await cluster.status()).processes.map(({ id, pid, since }) => ({ id, pid, since }));
  const before = await runs();
  expect(await refusal(["--port", "0", "--data", cluster.dataDir])).toBe(
    `Another cluster is already running on ${cluster.dataDir} (pid ${cluster.pid}): stop it with "bun run cluster stop --data ${cluster.dataDir}", or choose another folder with --data.\n`,
  );
  expect(await runs()).toEqual(before);
});

test("a data folder that cannot be one", async () => {
  expect(await refusal(["--data", file("file", "")])).toContain("file cannot be used (EEXIST");
  expect(await refusal(["--data", "/proc/tutti"])).toStartWith(
    "The data folder /proc/tutti cannot be used",
  );
  expect(await refusal(["--data", "x".repeat(120)])).toContain("choose a shorter --data folder.\n");
  expect(readdirSync(work)).toEqual(["file"]);
});

test("a cluster secret that is none", async () => {
  mkdirSync(data);
  writeFileSync(join(data, "secret"), "short\n", { mode: 0o600 });
  expect(await failedStart()).toBe(
    `--secret-file ${join(data, "secret")} must hold at least 16 characters.\n`,
  );
});

test("an app that is missing, exports none, throws, or has a syntax error", async () => {
  expect(await failedStart("--app", "app.ts")).toStartWith(
    `The app file ${join(work, "app.ts")} does not exist:`,
  );
  expect(await failedStart("--app", file("none.ts", "export const app = 1;"))).toContain(
    "does not export an app",
  );
  const thrown = await failedStart("--app", file("throws.ts", 'throw new Error("no database");'));
  expect(thrown).toContain("no database");
  expect(thrown).toContain("throws.ts:1");
  expect(await failedStart("--app", file("syntax.ts", "export default {"))).toContain("syntax.ts");
});

test("a public host with an app that lets everyone in, unless --open says so", async () => {
  const app = file("app.ts", 'import { app } from "tutti"; export default app({});');
  expect(await failedStart("--host", "0.0.0.0", "--app", app)).toContain("lets everyone in");
  const closed = file(
    "closed.ts",
    'import { app } from "tutti"; export default app({ connect: () => ({ user: "u" }) });',
  );
  for (const args of [
    ["--app", app, "--open"],
    ["--app", closed],
  ]) {
    await using cluster = new Cluster({ nodes: 1, args: ["--host", "0.0.0.0", ...args] });
    await cluster.ready();
    expect(cluster.address).toMatch(/^0\.0\.0\.0:\d+$/);
  }
});

test("settings come from the config file, the environment and flags, and tell commands which cluster is meant", async () => {
  file(
    "tutti.config.ts",
    'export default { data: "d", nodes: 3, relays: 2, lbWorkers: 2, port: 0 };',
  );
  const main = join(import.meta.dirname, "../../src/cluster/main.ts");
  const supervisor = Bun.spawn([process.execPath, "--no-orphans", main, "--nodes", "1"], {
    cwd: work,
    env: { ...process.env, TUTTI_LB_WORKERS: "1" },
    stdout: "pipe",
    stderr: "ignore",
  });
  for await (const chunk of supervisor.stdout)
    if (new TextDecoder().decode(chunk).includes("tutti is up")) break;
  const { out } = await runCommand(["status", "--json"], { cwd: work });
  const { processes } = clusterStatus(JSON.parse(out), "status");
  expect(processes.map(({ id }) => id)).toEqual(["relay-1", "relay-2", "node-1", "lb-1"]);
  expect((await runCommand(["stop"], { cwd: work })).code).toBe(0);
  expect(await supervisor.exited).toBe(0);
});

test("a running cluster of another release is left as it is: nothing of this one could join it", async () => {
  mkdirSync(data, { recursive: true });
  const asked: string[] = [];
  using server = Bun.serve({
    unix: join(data, "admin.sock"),
    fetch: (request) => {
      asked.push(new URL(request.url).pathname);
      return Response.json({ address: "127.0.0.1:8080", scheme: "http", processes: [] });
    },
  });
  for (const words of [["restart"], ["restart", "node-1"], ["scale", "3"]])
    expect(await refusal([...words, "--data", data])).toContain(
      "another release (relay protocol 1, not 2), and nothing was changed",
    );
  expect(asked).toEqual(["/status", "/status", "/status"]);
  await server.stop();
});
