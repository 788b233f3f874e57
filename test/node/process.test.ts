// The node's process: what it is told on the command line, what it tells its supervisor, and how it
// ends.

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { type Report, reportIn } from "../../src/runtime/child-ipc.ts";
import { eventually } from "../eventually.ts";
import { TestCluster, type TestRelay } from "./harness.ts";

setDefaultTimeout(30_000);

const MAIN = join(import.meta.dir, "../../src/node/main.ts");
const cluster = new TestCluster();
let relay: TestRelay;
beforeAll(async () => {
  relay = await cluster.relay();
});
afterAll(() => cluster[Symbol.asyncDispose]());

/** Starts a node as the supervisor does. `said` is what it wrote to standard error. */
function startNode(flags: string[], { isLinked = true, filesMax = 0 } = {}) {
  const reports: Report[] = [];
  const { promise: ready, resolve } = Promise.withResolvers<Report>();
  const linked = isLinked ? ["--relay", `relay-1=127.0.0.1:${relay.port}`] : [];
  const child = Bun.spawn(
    [
      ...(filesMax > 0 ? ["sh", "-c", `ulimit -n ${filesMax}; exec "$@"`, "sh"] : []),
      ...[process.execPath, MAIN, ...linked],
      ...["--secret-file", join(cluster.folder, "secret"), ...flags],
    ],
    {
      stdin: "ignore",
      stderr: "pipe",
      ipc: (value) => {
        const report = reportIn(value);
        if (report === undefined) return;
        reports.push(report);
        if (report.type !== "status") resolve(report);
      },
    },
  );
  cluster.onEnd(async () => {
    child.kill("SIGKILL");
    await child.exited;
  });
  child.exited.then(() => resolve({ type: "fatal", message: "exited" }));
  return { child, ready, reports, said: () => new Response(child.stderr).text() };
}

let files = 0;
function appFile(text: string): string {
  const path = join(cluster.folder, `app-${++files}.ts`);
  writeFileSync(path, text);
  return path;
}

const addressOf = (report: Report) =>
  report.type === "ready" ? report.address : `not ready: ${JSON.stringify(report)}`;

test("an app's file may lie anywhere; with Refused, types and all", async () => {
  const app = appFile(`import { app, Refused, type Session } from "tutti";
    export default app({
      start: (cluster) => { setInterval(() => cluster.publish("ticks", cluster.node), 20); },
      channels: { ticks: { publish: false } },
      methods: { who: (session: Session) => session.node, no: () => { throw new Refused("no"); } },
    });`);
  const { ready, child } = startNode(["--id", "far", "--app", app, "--log-level", "silent"]);
  const address = addressOf(await ready);
  const client = await cluster.client({ address });
  expect(client.welcome.node).toBe("far");
  expect(await client.ask({ type: "who" })).toMatchObject({ data: "far" });
  expect(await client.ask({ type: "no" })).toMatchObject({ code: "refused", message: "no" });
  await client.subscribe("ticks");
  expect(await client.next("message")).toMatchObject({ channel: "ticks", data: "far" });
  child.kill("SIGTERM");
  expect(await client.next("goodbye")).toMatchObject({ reconnectAfterMs: expect.any(Number) });
  expect((await client.closed).code).toBe(1012);
  expect(await child.exited).toBe(0);
});

test("what cannot be started says why in a sentence", async () => {
  const broken = appFile("export default {{{");
  const throws = appFile('throw new Error("thrown at the top");');
  const late = appFile(
    `import { app } from "tutti"; export default app({ start() { throw new Error("thrown in start"); } });`,
  );
  const open = appFile(`import { app } from "tutti"; export default app({});`);
  const app = (text: string) =>
    appFile(`import { app } from "tutti"; export default app(${text});`);
  const otherSecret = join(cluster.folder, "other-secret");
  writeFileSync(otherSecret, "not the secret that the relay has");
  const cases: [string[], RegExp, boolean?][] = [
    [["--app", "/no/such/app.ts"], /^The app file \/no\/such\/app\.ts does not exist/],
    [
      ["--app", appFile("export const x = 1;")],
      /does not export an app: write "export default app/,
    ],
    [["--app", broken], /failed while it was loaded:\n[\s\S]*app-\d+\.ts/],
    [
      ["--app", throws],
      /failed while it was loaded:\nError: thrown at the top\n +at .*app-\d+\.ts/,
    ],
    [["--app", late], /failed to start:\nError: thrown in start\n +at .*app-\d+\.ts/],
    [
      ["--app", app('{ channels: { "a{b": {} } }')],
      /The channel pattern "a\{b" has a "\{" or "\}" without its partner/,
    ],
    [
      ["--app", app('{ channels: { a: { history: { ttl: "soon" } } } }')],
      /history\.ttl of "a" is "soon"/,
    ],
    [["--app", app("{ limits: { subscriptions: 0 } }")], /limits\.subscriptions is 0/],
    [["--app", app("{ methods: { publish: () => {} } }")], /A method cannot be called "publish"/],
    [["--app", app('{ auth: "token" }')], /auth is "token", but there is no connect/],
    [["--app", open, "--require-connect"], /lets everyone in: give it a connect function/],
    [
      ["--app", open, "--listen", `127.0.0.1:${relay.port}`],
      /^The node cannot listen on 127\.0\.0\.1:\d+: .*in use/,
    ],
    [["--app", open, "--listen", "nowhere"], /--listen "nowhere" is not an address/],
    [["--app", open, "--nonsense"], /'--nonsense'/],
    [["--app", open], /^--relay is missing/, false],
    [["--app", open, "--secret-file", otherSecret], /^The cluster secret of relay-1 is another/],
  ];
  await Promise.all(
    cases.map(async ([flags, wanted, isLinked = true]) => {
      const { child, ready, said } = startNode(flags, { isLinked });
      const report = await ready;
      const message = report.type === "fatal" ? report.message : `it is ${report.type}`;
      expect(message).toMatch(wanted);
      expect(await child.exited).toBe(1);
      expect(await said()).toContain(message);
    }),
  );
}, 60_000);

test("it answers its supervisor, drains on order, takes clients again, and ends with its supervisor", async () => {
  const socket = join(cluster.folder, "drained.sock");
  const app = appFile(`import { app } from "tutti"; export default app({});`);
  const { child, ready, reports } = startNode([
    "--id",
    "drained",
    "--listen",
    `unix:${socket}`,
    "--app",
    app,
    "--log-level",
    "silent",
  ]);
  expect(addressOf(await ready)).toBe(`unix:${socket}`);
  const status = async () => {
    const before = reports.length;
    child.send({ type: "ping" });
    await eventually(() => reports.length > before);
    return reports[reports.length - 1];
  };
  const client = await cluster.client({ address: `unix:${socket}` });
  expect(await status()).toEqual({ type: "status", status: { state: "up", connections: 1 } });
  child.send({ type: "drain" });
  await client.next("goodbye");
  expect((await client.closed).code).toBe(1012);
  expect(await status()).toEqual({ type: "status", status: { state: "draining", connections: 0 } });
  await expect(cluster.client({ address: `unix:${socket}` })).rejects.toThrow();
  child.send({ type: "undrain" });
  await status();
  await cluster.client({ address: `unix:${socket}` });
  child.disconnect();
  expect(await child.exited).toBe(0);
});

test("the socket that a killed node left behind is used again; a live node's is not taken", async () => {
  const socket = join(cluster.folder, "again.sock");
  const app = appFile(`import { app } from "tutti"; export default app({});`);
  const flags = ["--listen", `unix:${socket}`, "--app", app, "--log-level", "silent"];
  const first = startNode([...flags, "--id", "first"]);
  await first.ready;
  const second = startNode([...flags, "--id", "second"]);
  expect(await second.ready).toMatchObject({
    type: "fatal",
    message: expect.stringMatching(/cannot listen on unix:.*in use/),
  });
  first.child.kill("SIGKILL");
  await first.child.exited;
  expect(existsSync(socket)).toBe(true);
  const third = startNode([...flags, "--id", "third"]);
  expect(addressOf(await third.ready)).toBe(`unix:${socket}`);
  third.child.kill("SIGTERM");
  expect(await third.child.exited).toBe(0);
  expect(existsSync(socket)).toBe(false);
});

test("without file descriptors it says so once and refuses what connects, until there are some again", async () => {
  const bare = appFile(`import { app } from "tutti"; export default app({});`);
  const { child, ready } = startNode(["--app", bare], { filesMax: 320 });
  const address = addressOf(await ready);
  let said = "";
  const reading = (async () => {
    const decoder = new TextDecoder();
    for await (const bytes of child.stderr) said += decoder.decode(bytes);
  })();
  const [host, port] = address.split(":");
  const sockets: Socket[] = [];
  let refused = 0;
  for (let n = 0; n < 400; n++) {
    const socket = connect(Number(port), host, () =>
      socket.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    );
    socket.on("error", () => {});
    socket.on("data", (bytes) => {
      if (bytes.toString("latin1").startsWith("HTTP/1.1 503")) refused++;
    });
    cluster.onEnd(() => socket.destroy());
    sockets.push(socket);
  }
  await eventually(() => refused > 50, undefined, { withinMs: 10_000 });
  const ask = async () => (await fetch(`http://${address}/`, { keepalive: false })).status;
  expect(await ask()).toBe(503);
  for (const socket of sockets) socket.destroy();
  await eventually(ask, (status) => status === 404, { withinMs: 10_000 });
  child.kill("SIGTERM");
  await reading;
  const times = (words: string) => said.split(words).length - 1;
  expect([
    times("no file descriptors are left"),
    times("there are file descriptors again"),
  ]).toEqual([1, 1]);
});
