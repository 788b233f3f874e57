// Choosing a node, from outside: leastconn, the sticky cookie, health, redispatch, and counts that
// are right however a connection ends.

import { afterAll, afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually, turn } from "../eventually.ts";
import { answering, fieldOf, Lb, type RawPeer, ScriptedServer, statusOf } from "./harness.ts";
import { opening } from "./messages.ts";

setDefaultTimeout(60_000);

const folder = mkdtempSync(join(tmpdir(), "tutti-lb-"));
afterAll(() => rmSync(folder, { recursive: true }));

const started: { stop(): Promise<unknown> }[] = [];
afterEach(async () => {
  for (const each of started.splice(0)) await each.stop();
});

async function startServer(
  name: string,
  where?: { port: number } | { path: string },
): Promise<ScriptedServer> {
  const server = await ScriptedServer.listen(where);
  server.script = serving(name);
  started.push(server);
  return server;
}

async function startLb(...flags: string[]): Promise<Lb> {
  const lb = await Lb.start("--cookie-key", "test", ...flags);
  started.unshift(lb);
  return lb;
}

const named = (name: string) => `HTTP/1.1 200 OK\r\nContent-Length: ${name.length}\r\n\r\n${name}`;

/** A script: tunnels what asks for it and answers everything else with a name. */
const serving = (name: string) => async (peer: RawPeer) => {
  const head = await peer.head();
  const key = fieldOf(head, "Sec-WebSocket-Key");
  if (key === undefined) return await answering(named(name))(peer);
  const accept = createHash("sha1")
    .update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
    .digest("base64");
  peer.send(
    `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Node: ${name}\r\n`,
  );
  peer.send(`Sec-WebSocket-Accept: ${accept}\r\n\r\n`);
  await peer.untilEnd();
  peer.finish();
};

const get = (fields = "") => `GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n${fields}\r\n`;

type Tunnel = { client: RawPeer; node: string | undefined; head: string };

async function openTunnel(lb: Lb, fields = ""): Promise<Tunnel> {
  const client = await lb.connect();
  client.send(opening(fields));
  const head = await client.head();
  expect(statusOf(head)).toBe(101);
  return { client, node: fieldOf(head, "X-Node"), head };
}

const openTunnels = async (lb: Lb, count: number): Promise<Tunnel[]> => {
  const tunnels: Tunnel[] = [];
  for (let each = 0; each < count; each++) tunnels.push(await openTunnel(lb));
  return tunnels;
};

const tally = (tunnels: readonly Tunnel[]): Record<string, number> => {
  const counts: Record<string, number> = {};
  for (const { node } of tunnels) counts[String(node)] = (counts[String(node)] ?? 0) + 1;
  return counts;
};

const nameIn = (answer: string) => answer.slice(answer.indexOf("\r\n\r\n") + 4);
const cookieIn = (answer: string) => fieldOf(answer, "Set-Cookie")?.split(";")[0];
const quiet = ["--check-interval-ms", "3600000"];

describe("leastconn", () => {
  test("open tunnels count: each new one goes to the node with the fewest, ties in turn", async () => {
    const servers = await Promise.all(["a", "b", "c"].map((name) => startServer(name)));
    const lb = await startLb(
      ...quiet,
      ...servers.flatMap(({ address }) => ["--upstream", address]),
    );
    const tunnels = await openTunnels(lb, 9);
    expect(tally(tunnels)).toEqual({ a: 3, b: 3, c: 3 });
    expect(tunnels.slice(0, 3).map(({ node }) => node)).toEqual(
      tunnels.slice(3, 6).map(({ node }) => node),
    );
    for (const { client, node } of tunnels) if (node === "b") client.reset();
    await lb.countsWhen(({ connections }) => connections === 6);
    expect(tally(await openTunnels(lb, 3))).toEqual({ b: 3 });
    expect(tally(await openTunnels(lb, 3))).toEqual({ a: 1, b: 1, c: 1 });
  });

  test("a node at its limit is skipped; the surplus waits, is served when there is room, else told when to come back", async () => {
    const server = await startServer("a");
    const lb = await startLb(
      ...quiet,
      "--upstream",
      server.address,
      "--node-connections-max",
      "2",
      "--queue-timeout-ms",
      "900",
    );
    const [first] = await openTunnels(lb, 2);
    const waiting = await lb.connect();
    waiting.send(opening());
    await lb.countsWhen((counts) => counts.waiting === 1);
    first.client.reset();
    expect(statusOf(await waiting.head())).toBe(101);
    const surplus = await lb.ask(get());
    expect(statusOf(surplus)).toBe(503);
    expect(fieldOf(surplus, "Retry-After")).toBe("1");
  });

  test("an idle connection to a node at its limit makes room for whoever needs it", async () => {
    const server = await startServer("a");
    const lb = await startLb(...quiet, "--upstream", server.address, "--node-connections-max", "1");
    const clients = [await lb.connect(), await lb.connect(), await lb.connect()];
    for (let round = 0; round < 6; round++) {
      const client = clients[round % 3];
      client.forget();
      client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
      expect(statusOf(await client.until(/\r\n\r\na$/))).toBe(200);
    }
    const both = clients.slice(0, 2);
    for (const client of both) client.forget();
    for (const client of both) client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    for (const client of both) await client.until(/\r\n\r\na$/);
    expect((await lb.counts()).nodes[server.address].connections).toBe(1);
  });

  test("the queue is bounded", async () => {
    const server = await startServer("a");
    const lb = await startLb(
      ...quiet,
      "--upstream",
      server.address,
      "--node-connections-max",
      "1",
      "--queue-max",
      "1",
    );
    await openTunnel(lb);
    const waiting = await lb.connect();
    waiting.send(get());
    await lb.countsWhen((counts) => counts.waiting === 1);
    expect(statusOf(await lb.ask(get()))).toBe(503);
    waiting.reset();
    await lb.countsWhen((counts) => counts.waiting === 0);
  });

  test("a node that comes back is ramped up, not flooded", async () => {
    const [a, b] = [await startServer("a"), await startServer("b")];
    const { port } = b;
    const lb = await startLb(
      ...["--check-interval-ms", "100", "--rise", "1", "--ramp-ms", "10000"],
      ...["--upstream", a.address, "--upstream", b.address],
    );
    await b.stop();
    await lb.countsWhen(({ nodes }) => nodes[b.address].health === "down");
    // A ramp is no longer than the others have been there.
    await Bun.sleep(500);
    const before = await openTunnels(lb, 100);
    expect(tally(before)).toEqual({ a: 100 });
    await startServer("b", { port });
    await lb.countsWhen(({ nodes }) => nodes[b.address].health === "up");
    const atOnce = tally(await openTunnels(lb, 60)).b ?? 0;
    expect(atOnce).toBeGreaterThan(0);
    expect(atOnce).toBeLessThan(40);
    await eventually(
      async () => {
        await openTunnel(lb);
        return (await lb.counts()).nodes;
      },
      (nodes) => nodes[b.address].connections >= nodes[a.address].connections,
    );
  }, 20_000);
});

describe("the sticky cookie", () => {
  test("keeps a client on its node, is set only where needed, and is never seen by the node", async () => {
    const servers = await Promise.all(["a", "b", "c"].map((name) => startServer(name)));
    const lb = await startLb(
      ...quiet,
      ...servers.flatMap(({ address }) => ["--upstream", address]),
    );
    const first = await lb.ask(get());
    const cookie = cookieIn(first);
    expect(fieldOf(first, "Set-Cookie")).toMatch(
      /^TUTTI=[\w-]{22}; Path=\/; HttpOnly; SameSite=Lax$/,
    );
    expect(fieldOf(first, "Cache-Control")).toBe("private");
    for (let round = 0; round < 5; round++) {
      const again = await lb.ask(get(`Cookie: x=1; ${cookie}; y=2\r\n`));
      expect(nameIn(again)).toBe(nameIn(first));
      expect(fieldOf(again, "Set-Cookie")).toBeUndefined();
      expect((await openTunnel(lb, `Cookie: ${cookie}\r\n`)).node).toBe(nameIn(first));
    }
    for (const server of servers) {
      for (const { text } of server.connections) {
        expect(text).not.toContain("TUTTI");
        expect(fieldOf(text, "Cookie") ?? "x=1; y=2").toBe("x=1; y=2");
      }
    }
  });

  test("forged or unknown: chosen anew, and set anew", async () => {
    const server = await startServer("a");
    const lb = await startLb(...quiet, "--upstream", server.address);
    for (const forged of [
      "TUTTI=",
      "TUTTI=127.0.0.1:9001",
      `TUTTI=${"A".repeat(22)}`,
      `TUTTI=${"x".repeat(4000)}`,
      "TUTTI",
    ]) {
      const answer = await lb.ask(get(`Cookie: ${forged}\r\n`));
      expect(statusOf(answer)).toBe(200);
      expect(cookieIn(answer)).toMatch(/^TUTTI=[\w-]{22}$/);
    }
  });

  test("is a keyed hash: it tells no address, and another key makes another cookie", async () => {
    const server = await startServer("a");
    const one = await startLb(...quiet, "--upstream", server.address);
    const other = await Lb.start(...quiet, "--upstream", server.address, "--cookie-key", "another");
    started.unshift(other);
    const cookie = cookieIn(await one.ask(get()));
    expect(cookieIn(await other.ask(get()))).not.toBe(cookie);
    expect(fieldOf(await one.ask(get(`Cookie: ${cookie}\r\n`)), "Set-Cookie")).toBeUndefined();
    expect(cookieIn(await other.ask(get(`Cookie: ${cookie}\r\n`)))).toBeDefined();
  });

  test("a node's own cookie of that name does not pass; its others do", async () => {
    const server = await startServer("a");
    server.script = answering(
      "HTTP/1.1 200 OK\r\nSet-Cookie: TUTTI=mine\r\nSet-Cookie: sid=1\r\nContent-Length: 0\r\n\r\n",
    );
    const lb = await startLb(...quiet, "--upstream", server.address);
    const answer = await lb.ask(get());
    expect(answer).not.toContain("mine");
    expect(answer).toContain("Set-Cookie: sid=1\r\n");
  });

  test("dead node: chosen anew at once, and set anew", async () => {
    const [a, b] = [await startServer("a"), await startServer("b")];
    const lb = await startLb(...quiet, "--upstream", a.address, "--upstream", b.address);
    const first = await lb.ask(get());
    const dead = nameIn(first) === "a" ? a : b;
    await dead.stop();
    const second = await lb.ask(get(`Cookie: ${cookieIn(first)}\r\n`));
    expect(statusOf(second)).toBe(200);
    expect(nameIn(second)).not.toBe(nameIn(first));
    expect(cookieIn(second)).not.toBe(cookieIn(first));
  });

  test("its flags", async () => {
    const server = await startServer("a");
    const lb = await startLb(
      ...quiet,
      "--upstream",
      server.address,
      "--cookie-name",
      "SRV",
      "--cookie-same-site",
      "none",
    );
    expect(fieldOf(await lb.ask(get()), "Set-Cookie")).toMatch(
      /^SRV=[\w-]{22}; Path=\/; HttpOnly; SameSite=None; Secure$/,
    );
    const without = await startLb(...quiet, "--upstream", server.address, "--no-cookie");
    expect(fieldOf(await without.ask(get("Cookie: TUTTI=x\r\n")), "Set-Cookie")).toBeUndefined();
    expect(server.connections.at(-1)?.text).toContain("Cookie: TUTTI=x\r\n");
  });
});

describe("health", () => {
  test("refused: the request goes elsewhere at once, and the dead node is not asked again", async () => {
    const [a, b] = [await startServer("a"), await startServer("b")];
    const lb = await startLb(...quiet, "--upstream", a.address, "--upstream", b.address);
    await a.stop();
    const answers = await Promise.all(Array.from({ length: 20 }, () => lb.ask(get())));
    expect(answers.map(nameIn)).toEqual(Array.from({ length: 20 }, () => "b"));
    expect((await lb.counts()).nodes[b.address].health).toBe("up");
    expect(
      Object.values((await lb.counts()).nodes).filter(({ health }) => health === "down"),
    ).toHaveLength(1);
  });

  test("no node at all: 503 that says when to come back", async () => {
    const server = await startServer("a");
    const lb = await startLb(...quiet, "--upstream", server.address);
    await server.stop();
    for (let round = 0; round < 2; round++) {
      const answer = await lb.ask(get());
      expect(statusOf(answer)).toBe(503);
      expect(fieldOf(answer, "Retry-After")).toBe("1");
    }
  });

  test("checks take a node out and bring it back", async () => {
    const server = await startServer("a");
    const lb = await startLb("--upstream", server.address, "--check-interval-ms", "50");
    const { port } = server;
    const health = (wanted: string) =>
      lb.countsWhen(({ nodes }) => nodes[`127.0.0.1:${port}`].health === wanted);
    await health("up");
    await server.stop();
    await health("down");
    await startServer("a", { port });
    await health("up");
    expect(statusOf(await lb.ask(get()))).toBe(200);
  });

  test("with a path, 200 is health; a node that answers otherwise is chosen only when none is better", async () => {
    const [a, b] = [await startServer("a"), await startServer("b")];
    const checked = (name: string, status: number) => async (peer: RawPeer) => {
      const head = await peer.head();
      peer.send(
        head.startsWith("GET /ok ")
          ? `HTTP/1.1 ${status} X\r\nContent-Length: 0\r\n\r\n`
          : named(name),
      );
    };
    a.script = checked("a", 503);
    b.script = checked("b", 200);
    const flags = [
      "--check",
      "/ok",
      "--check-interval-ms",
      "50",
      "--upstream",
      a.address,
      "--upstream",
      b.address,
    ];
    const lb = await startLb(...flags);
    await lb.countsWhen(
      ({ nodes }) => nodes[a.address].health === "failing" && nodes[b.address].health === "up",
    );
    for (let round = 0; round < 4; round++) expect(nameIn(await lb.ask(get()))).toBe("b");
    await b.stop();
    expect(nameIn(await lb.ask(get()))).toBe("a");
  });

  test("a check that is not answered in time takes the node out", async () => {
    const server = await startServer("a");
    server.script = () => {};
    const lb = await startLb(
      "--upstream",
      server.address,
      "--check",
      "/ok",
      "--check-interval-ms",
      "50",
      "--check-timeout-ms",
      "100",
    );
    await lb.countsWhen(({ nodes }) => nodes[server.address].health === "down");
  });

  test("connect timeout: another node is tried; with no other it is a 504", async () => {
    const address = await startFull();
    const lb = await startLb(...quiet, "--upstream", address, "--connect-timeout-ms", "300");
    expect(statusOf(await lb.ask(get()))).toBe(504);
    const server = await startServer("a");
    const both = await startLb(
      ...quiet,
      "--upstream",
      address,
      "--upstream",
      server.address,
      "--connect-timeout-ms",
      "300",
    );
    const answers = [await both.ask(get()), await both.ask(get())];
    expect(answers.map(nameIn)).toEqual(["a", "a"]);
  }, 15_000);

  test("a node killed with SIGKILL: its clients are cut at once, no idempotent request fails", async () => {
    const nodes = await Promise.all(["a", "b", "c"].map((name) => startNode(name)));
    const lb = await startLb(
      "--check-interval-ms",
      "100",
      ...nodes.flatMap(({ address }) => ["--upstream", address]),
    );
    const tunnels = await openTunnels(lb, 9);
    const killed = nodes[0].address;
    let failures = 0;
    let served = 0;
    const ask = async () => {
      const client = await lb.connect();
      for (let request = 0; request < 100; request++) {
        client.forget();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        const answer = await client.until(/\r\n\r\n\w+$/).catch(() => "");
        if (statusOf(answer) === 200) served++;
        else failures++;
        if (served === 3000) nodes[0].child.kill("SIGKILL");
      }
      client.socket.destroy();
    };
    await Promise.all(Array.from({ length: 100 }, ask));
    expect(failures).toBe(0);
    expect(served).toBe(10_000);
    const cut = tunnels.filter(({ node }) => node === "a");
    await Promise.all(cut.map(({ client }) => client.untilEnd()));
    expect(
      tunnels.filter(({ client }) => client.hasEnded || client.isClosed).map(({ node }) => node),
    ).toEqual(["a", "a", "a"]);
    for (const { client } of cut) client.finish();
    const { nodes: counted } = await lb.countsWhen(
      (counts) => counts.nodes[killed].connections === 0,
    );
    expect(counted[killed].health).toBe("down");
  }, 30_000);
});

describe("behind unix sockets", () => {
  test("everything works alike, and a socket file that is gone takes the node out at once", async () => {
    const path = join(folder, "a.sock");
    const [a, b] = [await startServer("a", { path }), await startServer("b")];
    const lb = await startLb(...quiet, "--upstream", `unix:${path}`, "--upstream", b.address);
    const tunnels = await openTunnels(lb, 6);
    expect(tally(tunnels)).toEqual({ a: 3, b: 3 });
    const [{ client }] = tunnels.filter(({ node }) => node === "a");
    client.send("x".repeat(500_000));
    client.finish();
    const upstream = a.connections.find(({ text }) => text.includes("Upgrade"));
    expect((await upstream?.untilEnd())?.length).toBeGreaterThan(500_000);
    await client.untilClosed();
    await a.stop();
    await Promise.all(
      tunnels.filter(({ node }) => node === "a").map((tunnel) => tunnel.client.untilEnd()),
    );
    expect(nameIn(await lb.ask(get()))).toBe("b");
    expect(nameIn(await lb.ask(get()))).toBe("b");
  });

  test("checks that prove nothing accepted are no reason to hold anybody back", async () => {
    const path = join(folder, "quiet.sock");
    const server = await startServer("a", { path });
    const lb = await startLb("--upstream", `unix:${path}`, "--check-interval-ms", "50");
    await eventually(() => server.connections.length >= 10);
    expect(nameIn(await lb.ask(get()))).toBe("a");
    expect((await lb.counts()).nodes[`unix:${path}`].backlogMax).toBe(0);
  });

  test("a herd never overflows a node's backlog: nobody is refused", async () => {
    const nodes = await Promise.all(
      ["a", "b"].map((name) => startNode(name, join(folder, `herd-${name}.sock`))),
    );
    const lb = await startLb(
      "--check",
      "/",
      ...nodes.flatMap(({ address }) => ["--upstream", address]),
    );
    const clients = await Promise.all(Array.from({ length: 1500 }, () => lb.connect()));
    for (const client of clients) client.send(opening());
    const heads = await Promise.all(clients.map((client) => client.head()));
    expect(heads.filter((head) => statusOf(head) !== 101)).toEqual([]);
    const { nodes: counted } = await lb.counts();
    expect(Object.values(counted).reduce((sum, { connections }) => sum + connections, 0)).toBe(
      1500,
    );
    for (const { connections } of Object.values(counted)) expect(connections).toBeGreaterThan(600);
  }, 30_000);
});

/** Whether somebody has sent a SYN to this port of 127.0.0.1 that is not answered. */
function isKeptWaiting(port: number): boolean {
  const [to, synSent] = [`0100007F:${port.toString(16).toUpperCase().padStart(4, "0")}`, "02"];
  return readFileSync("/proc/net/tcp", "utf8").includes(` ${to} ${synSent} `);
}

/** A server that does not accept, its backlog full: it answers no SYN any more. */
async function startFull(): Promise<string> {
  const { address, child } = await startNode("full");
  child.kill("SIGSTOP");
  const port = Number(address.slice(address.lastIndexOf(":") + 1));
  const fillers: net.Socket[] = [];
  started.push({
    stop: async () => {
      for (const filler of fillers) filler.destroy();
    },
  });
  for (; !isKeptWaiting(port); await turn()) {
    if (fillers.length > 6000) throw new Error("the backlog does not fill");
    for (let each = 0; each < 100; each++)
      fillers.push(net.connect({ host: "127.0.0.1", port }).on("error", () => {}));
  }
  return address;
}

/** A real Bun server as a process of its own, which can be killed. */
async function startNode(
  name: string,
  path?: string,
): Promise<{ address: string; child: Bun.Subprocess }> {
  const where =
    path === undefined ? `port: 0, hostname: "127.0.0.1"` : `unix: ${JSON.stringify(path)}`;
  const code = `const server = Bun.serve({ ${where}, development: false,
    fetch: (request, server) => server.upgrade(request, { headers: { "X-Node": "${name}" } }) ? undefined : new Response("${name}"),
    websocket: { message(ws, text) { ws.send(text); } } });
    process.send(server.port ?? 0);`;
  const { promise, resolve } = Promise.withResolvers<unknown>();
  const child = Bun.spawn([process.execPath, "-e", code], {
    stdio: ["ignore", "ignore", "inherit"],
    ipc: resolve,
  });
  started.push({
    stop: async () => {
      child.kill("SIGKILL");
      await child.exited;
    },
  });
  const port = await promise;
  return { address: path === undefined ? `127.0.0.1:${port}` : `unix:${path}`, child };
}
