// The lb as a process: its command line, its limits and time-outs, its own health, and how it
// stops.

import {
  afterAll,
  afterEach,
  beforeAll,
  beforeEach,
  describe,
  expect,
  setDefaultTimeout,
  test,
} from "bun:test";
import { readdirSync } from "node:fs";
import { eventually } from "../eventually.ts";
import { answering, fieldOf, Lb, OK, type RawPeer, ScriptedServer, statusOf } from "./harness.ts";
import { opening, switching } from "./messages.ts";

setDefaultTimeout(60_000);

let server: ScriptedServer;
const started: Lb[] = [];

beforeAll(async () => {
  server = await ScriptedServer.listen();
});
beforeEach(() => server.play(answering(OK)));
afterEach(async () => {
  await Promise.all(started.splice(0).map((lb) => lb.stop()));
});
afterAll(() => server.stop());

async function startLb(...flags: string[]): Promise<Lb> {
  const lb = await Lb.inFrontOf(server, ...flags);
  started.push(lb);
  return lb;
}

const get = (fields = "") => `GET / HTTP/1.1\r\nHost: a\r\n${fields}\r\n`;
const last = get("Connection: close\r\n");

async function openTunnel(lb: Lb): Promise<{ client: RawPeer; upstream: RawPeer }> {
  server.play(switching);
  const client = await lb.connect();
  client.send(opening());
  await client.head();
  client.forget();
  return { client, upstream: await server.connection() };
}

/** Runs the lb to its end, as an operator without a supervisor. */
async function run(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const cwd = new URL("../..", import.meta.url).pathname;
  const child = Bun.spawn([process.execPath, "src/lb/main.ts", ...args], {
    cwd,
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [out, err] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  return { code: await child.exited, out, err };
}

describe("the command line", () => {
  for (const [args, sentence] of [
    [[], "--upstream"],
    [["--upstream", "nonsense"], '--upstream "nonsense" is not an address'],
    [["--upstream", "127.0.0.1:1", "--upstream", "127.0.0.1:1"], "given twice"],
    [["--upstream", "127.0.0.1:1", "--listen", "here"], '--listen "here"'],
    [["--upstream", "127.0.0.1:1", "--wrong"], "--wrong"],
    [["--upstream", "127.0.0.1:1", "--rise", "0"], "--rise"],
    [["--upstream", "127.0.0.1:1", "--head-timeout-ms", "soon"], "--head-timeout-ms"],
    [["--upstream", "127.0.0.1:1", "--trust", "10.0.0.0/33"], "--trust"],
    [["--upstream", "127.0.0.1:1", "--cookie-same-site", "sometimes"], "--cookie-same-site"],
    [["--upstream", "127.0.0.1:1", "--health-path", "healthz"], "--health-path"],
    [["--relay", "relay-1=127.0.0.1:1"], "--secret-file"],
    [["--relay", "127.0.0.1:1", "--secret-file", "/dev/null"], "--relay"],
    [["--relay", "relay-1=127.0.0.1:1", "--upstream", "127.0.0.1:1"], "not both"],
    [["--upstream", "127.0.0.1:1", "--listen", "192.0.2.1:80"], "Cannot listen on 192.0.2.1"],
  ] as const) {
    test(`${args.join(" ") || "nothing"}: a sentence, and exit code 1`, async () => {
      const { code, err } = await run(...args);
      expect(code).toBe(1);
      expect(err).toContain(sentence);
      expect(err).not.toContain("    at ");
    });
  }

  test("a port that is taken: one sentence", async () => {
    const { code, err } = await run("--listen", server.address, "--upstream", "127.0.0.1:1");
    expect(code).toBe(1);
    expect(err).toBe(
      `Port ${server.port} on 127.0.0.1 is already in use: choose another with --listen.\n`,
    );
  });

  test("--help lists every flag with its default", async () => {
    const { code, out } = await run("--help");
    expect(code).toBe(0);
    for (const flag of ["--upstream", "--relay", "--trust", "--head-timeout-ms 10000", "--rise 2"])
      expect(out).toContain(flag);
  });

  test("says where it listens", async () => {
    const lb = await startLb();
    await lb.counts();
    expect(lb.log).toContain(`"msg":"listening on 127.0.0.1:${lb.port}"`);
  });
});

describe("limits", () => {
  test("connections in all: the surplus is told so, the others go on, and a place that is free is given again", async () => {
    const lb = await startLb("--connections-max", "2");
    const [first, second] = [await lb.connect(), await lb.connect()];
    for (const client of [first, second]) {
      client.send(get());
      await client.until("ok");
    }
    const refused = await lb.ask(last);
    expect(statusOf(refused)).toBe(503);
    expect(fieldOf(refused, "Retry-After")).toBe("1");
    second.forget();
    second.send(get());
    await second.until("ok");
    first.reset();
    await lb.countsWhen(({ connections }) => connections === 1);
    expect(statusOf(await lb.ask(last))).toBe(200);
  });

  test("it stays below its file descriptors, and those that are in go on", async () => {
    const flags = `--listen 127.0.0.1:0 --upstream ${server.address} --check-interval-ms 3600000`;
    const lb = await Lb.startCommand([
      "sh",
      "-c",
      `ulimit -n 200; exec ${process.execPath} src/lb/main.ts ${flags}`,
    ]);
    started.push(lb);
    server.play(switching);
    // Those that are cut without a word may be so before they know that they were connected.
    const attempts = await Promise.allSettled(Array.from({ length: 80 }, () => lb.connect()));
    const clients = attempts.flatMap((attempt) =>
      attempt.status === "fulfilled" ? [attempt.value] : [],
    );
    for (const client of clients) client.send(opening());
    const heads = await Promise.all(clients.map((client) => client.untilClosedOr("\r\n\r\n")));
    const tunnels = clients.filter((_, at) => statusOf(heads[at]) === 101);
    expect(tunnels.length).toBeGreaterThan(30);
    expect(tunnels.length).toBeLessThan(60);
    expect(readdirSync(`/proc/${lb.pid}/fd`).length).toBeLessThan(200);
    for (const client of tunnels) {
      client.forget();
      client.send("still ");
    }
    await Promise.all(
      server.connections
        .filter(({ text }) => text.includes("Upgrade"))
        .map((peer) => peer.until("still ")),
    );
  });

  test("without file descriptors it says so, accepts nothing, serves those that are in, and goes on later", async () => {
    const flags = `--listen 127.0.0.1:0 --upstream ${server.address} --check-interval-ms 3600000 --connections-max 100000`;
    const lb = await Lb.startCommand([
      "sh",
      "-c",
      `ulimit -n 120; exec ${process.execPath} src/lb/main.ts ${flags}`,
    ]);
    started.push(lb);
    const { client, upstream } = await openTunnel(lb);
    // The system takes more than the lb can accept.
    const crowd = await Promise.allSettled(Array.from({ length: 200 }, () => lb.connect()));
    await lb.logged("no file descriptors are left");
    await expect(lb.connect()).rejects.toThrow();
    client.send("still ");
    await upstream.until("still ");
    expect(lb.log.split("no file descriptors are left")).toHaveLength(2);
    for (const each of crowd) if (each.status === "fulfilled") each.value.reset();
    await lb.logged("new connections again");
    server.script = answering(OK);
    expect(await lb.ask(last)).toEndWith("ok");
    client.send("there");
    await upstream.until("still there");
  });

  test("connections from one address", async () => {
    const lb = await startLb("--address-connections-max", "1");
    const client = await lb.connect();
    client.send(get());
    await client.until("ok");
    expect(statusOf(await lb.ask(last))).toBe(429);
    client.reset();
    await lb.countsWhen(({ connections }) => connections === 0);
    expect(statusOf(await lb.ask(last))).toBe(200);
  });

  test("new connections a second", async () => {
    const lb = await startLb("--connections-per-second", "5");
    const statuses = (await Promise.all(Array.from({ length: 20 }, () => lb.ask(last)))).map(
      statusOf,
    );
    expect(statuses.filter((status) => status === 503).length).toBeGreaterThan(8);
    expect(statuses.filter((status) => status === 200).length).toBeGreaterThanOrEqual(5);
  });
});

describe("time-outs", () => {
  test("keep-alive: an idle connection is closed without a word, with the server's connection", async () => {
    const lb = await startLb("--keep-alive-timeout-ms", "300");
    const client = await lb.connect();
    client.send(get());
    await client.until("ok");
    client.forget();
    expect(await client.untilEnd()).toBe("");
    await server.connections.at(-1)?.untilEnd();
  });

  test("body: a client that stops in the middle of it gets a 408", async () => {
    const lb = await startLb("--body-timeout-ms", "300");
    server.play(() => {});
    const client = await lb.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    expect(statusOf(await client.untilEnd())).toBe(408);
    await server.connections[0].untilClosed();
  });

  test("response: a server that stops in the middle of its answer aborts it", async () => {
    const lb = await startLb("--response-timeout-ms", "300");
    server.play(async (peer) => {
      await peer.head();
      peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
    });
    const client = await lb.connect();
    client.send(get());
    await client.untilClosed();
    expect(client.wasReset).toBe(true);
  });

  test("tunnel: one in which nothing moves is closed; movement either way keeps it", async () => {
    const lb = await startLb("--tunnel-timeout-ms", "900");
    const { client, upstream } = await openTunnel(lb);
    for (const from of [client, upstream])
      for (let round = 0; round < 5; round++) {
        await Bun.sleep(200);
        from.send("x");
      }
    expect(client.isClosed || upstream.isClosed).toBe(false);
    await Promise.all([client.untilClosed(), upstream.untilClosed()]);
  });

  test("stall: a reader that takes nothing is cut, though the other direction moves", async () => {
    const lb = await startLb("--stall-timeout-ms", "600");
    const { client, upstream } = await openTunnel(lb);
    client.socket.pause();
    upstream.send(new Uint8Array(16 * 1024 * 1024));
    const chatter = setInterval(() => client.send("x"), 50);
    try {
      await upstream.untilClosed();
    } finally {
      clearInterval(chatter);
    }
    await lb.countsWhen(({ connections }) => connections === 0);
  });
});

describe("its own health", () => {
  test("is answered on the path that was given, and on no other", async () => {
    const lb = await startLb("--health-path", "/lb-health", "--check-interval-ms", "50");
    expect(
      await lb.ask("GET /lb-health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    ).toEndWith("\r\n\r\nok\n");
    expect(
      await lb.ask("HEAD /lb-health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
    ).toEndWith("\r\n\r\n");
    expect(await lb.ask(last)).toEndWith("ok");
    const client = await lb.connect();
    client.send("GET /lb-health HTTP/1.1\r\nHost: a\r\n\r\n".repeat(2000) + last);
    expect((await client.untilEnd()).match(/HTTP\/1\.1 200/g)).toHaveLength(2001);
  });

  const healthz = "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

  test("is told whatever the query, and to GET and HEAD alone", async () => {
    const lb = await startLb();
    const seen = server.connections.length;
    const ask = (line: string, rest = "\r\n") =>
      lb.ask(`${line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${rest}`);
    for (const target of ["/healthz?", "/healthz?x", "http://a/healthz?x"])
      expect(await ask(`GET ${target}`)).toEndWith("\r\n\r\nok\n");
    expect(await ask("GET /healthz", "Content-Length: 2\r\n\r\nab")).toEndWith("\r\n\r\nok\n");
    expect(await ask("GET /healthz", "Content-Length: 0\r\n\r\n")).toEndWith("\r\n\r\nok\n");
    for (const method of ["POST", "OPTIONS", "DELETE", "ANY"]) {
      const answer = await ask(`${method} /healthz`);
      expect(statusOf(answer)).toBe(405);
      expect(fieldOf(answer, "Allow")).toBe("GET, HEAD");
    }
    expect(
      server.connections
        .slice(seen)
        .map(({ text }) => text)
        .join(""),
    ).not.toContain("healthz");
    expect(await ask("GET /healthzz")).toEndWith("\r\n\r\nok");
  });

  test("is told on /healthz unless another path is wanted, or none", async () => {
    const [byDefault, elsewhere, nowhere] = await Promise.all([
      startLb(),
      startLb("--health-path", "/h"),
      startLb("--no-health-path"),
    ]);
    expect(await byDefault.ask(healthz)).toEndWith("\r\n\r\nok\n");
    expect(server.connections.some(({ text }) => text.includes("/healthz"))).toBe(false);
    for (const lb of [elsewhere, nowhere]) expect(await lb.ask(healthz)).toEndWith("\r\n\r\nok");
  });

  test("is 503 while no node is up", async () => {
    const lb = await Lb.start("--upstream", "127.0.0.1:1", "--check-interval-ms", "50");
    started.push(lb);
    await lb.countsWhen(({ nodes }) => nodes["127.0.0.1:1"].health === "down");
    expect(statusOf(await lb.ask(healthz))).toBe(503);
  });
});

describe("stopping", () => {
  test("SIGTERM: no new connections, what idles is closed, tunnels are ended, exit code 0", async () => {
    const lb = await startLb();
    const { client, upstream } = await openTunnel(lb);
    server.script = answering(OK);
    const idle = await lb.connect();
    idle.send(get());
    await idle.until("ok");
    upstream.send("last words");
    const exited = lb.child.exited;
    lb.child.kill("SIGTERM");
    await Promise.all([idle.untilEnd(), upstream.untilEnd()]);
    expect(await client.untilEnd()).toEndWith("last words");
    expect(idle.wasReset || client.wasReset).toBe(false);
    expect(await exited).toBe(0);
    await expect(lb.connect()).rejects.toThrow();
  });

  test("an exchange under way is finished", async () => {
    const lb = await startLb();
    server.play(() => {});
    const client = await lb.connect();
    client.send(get());
    const upstream = await server.connection();
    await upstream.head();
    lb.child.kill("SIGTERM");
    await lb.logged("stopping");
    upstream.send(OK);
    const answer = await client.untilEnd();
    expect(statusOf(answer)).toBe(200);
    expect(fieldOf(answer, "Connection")).toBe("close");
    expect(await lb.child.exited).toBe(0);
  });
});

describe("draining", () => {
  const GOODBYE = "\x88\x02\x03\xf4";
  /** A client's answer, masked with zeros. */
  const ECHO = "\x88\x82\0\0\0\0\x03\xf4";
  const text = (message: string) => `\x81${String.fromCharCode(message.length)}${message}`;

  async function startSecond(first: Lb): Promise<Lb> {
    const flags = ["--reuse-port", "--upstream", server.address, "--id", "lb-2"];
    const second = await Lb.startCommand([
      ...[process.execPath, "src/lb/main.ts", "--listen", `127.0.0.1:${first.port}`],
      ...flags,
    ]);
    started.push(second);
    return second;
  }

  test("another takes over the port; tunnels stay, what idles is closed, what is under way is finished", async () => {
    const first = await startLb("--reuse-port");
    const { client, upstream } = await openTunnel(first);
    server.script = answering(OK);
    const idle = await first.connect();
    idle.send(get());
    await idle.until("ok");
    server.script = () => {};
    const waiting = await first.connect();
    const arrives = server.nextConnection();
    waiting.send(get());
    const slow = await arrives;
    await slow.head();
    const second = await startSecond(first);
    first.child.send({ type: "drain" });
    await idle.untilEnd();
    slow.send(OK);
    expect(fieldOf(await waiting.untilEnd(), "Connection")).toBe("close");
    server.script = answering(OK);
    for (let round = 0; round < 20; round++) {
      const fresh = await second.connect();
      fresh.send(last);
      expect(await fresh.untilEnd()).toEndWith("ok");
    }
    idle.finish();
    waiting.finish();
    await first.countsWhen(({ connections }) => connections === 1);
    client.send(text("up"));
    await upstream.until("up");
    upstream.send(text("down"));
    await client.until("down");
  });

  test("tunnels that are left are closed with 1012, between two frames", async () => {
    const lb = await startLb("--drain-ms", "0");
    const { client, upstream } = await openTunnel(lb);
    upstream.send("\x81\x04do");
    await client.until("do");
    lb.child.send({ type: "drain" });
    await eventuallyRefused(lb);
    upstream.send("wn");
    await client.until(GOODBYE);
    expect(client.text).toBe(`\x81\x04down${GOODBYE}`);
    upstream.send(text("too late"));
    client.send(ECHO);
    await upstream.until(ECHO);
    upstream.finish();
    await client.untilEnd();
    expect(client.text).toEndWith(GOODBYE);
    client.finish();
    await lb.countsWhen(({ connections }) => connections === 0);
    expect(client.wasReset).toBe(false);
  });

  test("at a pace", async () => {
    const lb = await startLb("--drain-ms", "0", "--endings-per-second", "4");
    server.play(switching);
    const clients = await Promise.all(Array.from({ length: 5 }, () => lb.connect()));
    for (const client of clients) client.send(opening());
    await Promise.all(clients.map((client) => client.head()));
    lb.child.send({ type: "drain" });
    const goodbyes = clients.map((client) => client.until(GOODBYE));
    await Promise.race(goodbyes);
    expect(clients.filter((client) => client.text.includes(GOODBYE)).length).toBeLessThan(5);
    await Promise.all(goodbyes);
  });

  test("a client that does not answer is cut after the half-closed time", async () => {
    const lb = await startLb("--drain-ms", "0", "--half-closed-timeout-ms", "300");
    const { client } = await openTunnel(lb);
    lb.child.send({ type: "drain" });
    await client.until(GOODBYE);
    await client.untilEnd();
    await lb.countsWhen(({ connections, upstreams }) => connections === 0 && upstreams === 0);
  });

  test("back to work, it accepts again", async () => {
    const lb = await startLb("--drain-ms", "0");
    lb.child.send({ type: "drain" });
    await eventuallyRefused(lb);
    lb.child.send({ type: "undrain" });
    await eventually(async () => statusOf(await lb.ask(last).catch(() => "")) === 200);
    const { client, upstream } = await openTunnel(lb);
    await lb.caughtUp();
    client.send(text("up"));
    await upstream.until("up");
    expect(client.text).toBe("");
  });
});

/** Resolves when it takes no new connections. */
const eventuallyRefused = async (lb: Lb): Promise<void> => {
  await eventually(async () => {
    const peer = await lb.connect().catch(() => undefined);
    peer?.reset();
    return peer === undefined;
  });
};

test("several lbs share a port", async () => {
  const first = await startLb("--reuse-port");
  const second = await Lb.start(
    "--listen",
    `127.0.0.1:${first.port}`,
    "--reuse-port",
    "--upstream",
    server.address,
  );
  started.push(second);
  const clients = await Promise.all(Array.from({ length: 40 }, () => first.connect()));
  for (const client of clients) client.send(get());
  await Promise.all(clients.map((client) => client.until("ok")));
  const [one, other] = [await first.counts(), await second.counts()];
  expect(one.connections + other.connections).toBe(40);
  expect(Math.min(one.connections, other.connections)).toBeGreaterThan(0);
});
