// The lb in a cluster: nodes come from a real relay's registry, several lbs count together, and a
// relay that is away changes nothing.

import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Link } from "../../src/runtime/link.ts";
import { eventually } from "../eventually.ts";
import { type RelayProcess, SECRET, startRelay, testFolder } from "../relay/process.ts";
import { fieldOf, Lb, type RawPeer, statusOf } from "./harness.ts";
import { opening } from "./messages.ts";

setDefaultTimeout(60_000);

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

type Relay = { readonly folder: string; process: RelayProcess };

async function relay(): Promise<Relay> {
  const folder = testFolder();
  const started = { folder: folder.path, process: await startRelay(folder.path) };
  cleanups.push(() => folder[Symbol.dispose]());
  cleanups.push(() => started.process.kill());
  return started;
}

async function restart(stopped: Relay): Promise<void> {
  await stopped.process.kill();
  stopped.process = await startRelay(stopped.folder, stopped.process.port);
}

const relayFlags = (relays: readonly Relay[]) => [
  ...relays.flatMap(({ process }, at) => ["--relay", `relay-${at + 1}=127.0.0.1:${process.port}`]),
  ...["--secret-file", join(relays[0].folder, "secret")],
];

async function startLb(id: string, relays: readonly Relay[], ...flags: string[]): Promise<Lb> {
  const lb = await Lb.start(
    "--id",
    id,
    ...relayFlags(relays),
    "--check-interval-ms",
    "100",
    ...flags,
  );
  cleanups.push(() => lb.stop());
  return lb;
}

/**
 * A node as the lb sees it: a server behind a unix socket, healthy or not, linked to every relay.
 */
class FakeNode {
  readonly id: string;
  readonly path: string;
  health = 200;
  state: "starting" | "up" | "draining" = "up";
  #links: { link: Link; isUp: boolean }[] = [];
  #server: ReturnType<typeof Bun.serve> | undefined;

  constructor(id: string) {
    this.id = id;
    const folder = mkdtempSync(join(tmpdir(), "tutti-node-"));
    this.path = join(folder, `${id}.sock`);
    cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
    cleanups.push(() => this.leave());
    this.serve();
  }

  serve(): void {
    const headers = { "X-Node": this.id };
    this.#server = Bun.serve({
      unix: this.path,
      development: false,
      fetch: (request, server) => {
        if (new URL(request.url).pathname === "/healthz")
          return new Response(null, { status: this.health });
        return server.upgrade(request, { headers, data: undefined })
          ? undefined
          : new Response(this.id, { headers });
      },
      websocket: { message() {} },
    });
  }

  async stopServing(): Promise<void> {
    await this.#server?.stop(true);
    rmSync(this.path, { force: true });
  }

  join(relays: readonly Relay[]): void {
    for (const { process } of relays) {
      const entry: { link: Link; isUp: boolean } = {
        isUp: false,
        link: new Link(
          {
            address: { host: "127.0.0.1", port: process.port },
            secret: SECRET,
            role: "node",
            id: this.id,
          },
          {
            welcome: () => this.register(),
            publication() {},
            message() {},
            invalidMessage() {},
            lost() {},
          },
        ),
      };
      this.#links.push(entry);
    }
  }

  register(): void {
    const { state, path } = this;
    for (const { link } of this.#links)
      link.sendMessage({
        type: "register",
        address: `unix:${path}`,
        state,
        connections: 0,
        counts: {},
      });
  }

  unlink(): void {
    for (const { link } of this.#links.splice(0)) link.close();
  }

  async leave(): Promise<void> {
    this.unlink();
    await this.stopServing();
  }
}

const get = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

async function openTunnel(
  lb: Lb,
  cookie?: string,
): Promise<{ client: RawPeer; node: string; cookie: string }> {
  const client = await lb.connect();
  client.send(opening(cookie));
  const head = await client.head();
  expect(statusOf(head)).toBe(101);
  const set = fieldOf(head, "Set-Cookie")?.split(";")[0] ?? "";
  return { client, node: fieldOf(head, "X-Node") ?? "", cookie: `Cookie: ${set}\r\n` };
}

const knows = (lb: Lb, ...ids: string[]) =>
  lb.countsWhen(
    ({ nodes }) =>
      Object.entries(nodes)
        .filter(([, { standing, health }]) => standing === "open" && health === "up")
        .map(([id]) => id)
        .sort()
        .join() === ids.join(),
  );

describe("the registry", () => {
  test("nodes come, drain and leave; tunnels elsewhere notice nothing", async () => {
    const relays = [await relay()];
    const [a, b] = [new FakeNode("node-1"), new FakeNode("node-2")];
    a.join(relays);
    const lb = await startLb("lb-1", relays);
    await knows(lb, "node-1");
    const kept = await openTunnel(lb);
    b.join(relays);
    await knows(lb, "node-1", "node-2");
    const onB = await openTunnel(lb);
    expect(onB.node).toBe("node-2");
    b.state = "draining";
    b.register();
    await knows(lb, "node-1");
    expect((await openTunnel(lb)).node).toBe("node-1");
    expect((await openTunnel(lb, onB.cookie)).node).toBe("node-1");
    expect(onB.client.hasEnded).toBe(false);
    b.state = "up";
    b.register();
    await knows(lb, "node-1", "node-2");
    expect((await openTunnel(lb, onB.cookie)).node).toBe("node-2");
    await b.leave();
    await onB.client.untilEnd();
    await knows(lb, "node-1");
    for (let round = 0; round < 5; round++) expect((await openTunnel(lb)).node).toBe("node-1");
    expect(kept.client.hasEnded).toBe(false);
  });

  test("a node that is still starting gets nobody", async () => {
    const relays = [await relay()];
    const node = new FakeNode("node-1");
    node.state = "starting";
    node.join(relays);
    const lb = await startLb("lb-1", relays);
    await lb.countsWhen(({ nodes }) => nodes["node-1"]?.standing === "closed");
    expect(statusOf(await lb.ask(get))).toBe(503);
    node.state = "up";
    node.register();
    await knows(lb, "node-1");
    expect(statusOf(await lb.ask(get))).toBe(200);
  });

  test("a node whose /healthz is not 200 is left for others", async () => {
    const relays = [await relay()];
    const [a, b] = [new FakeNode("node-1"), new FakeNode("node-2")];
    for (const node of [a, b]) node.join(relays);
    const lb = await startLb("lb-1", relays);
    await knows(lb, "node-1", "node-2");
    a.health = 503;
    await knows(lb, "node-2");
    for (let round = 0; round < 4; round++) expect((await openTunnel(lb)).node).toBe("node-2");
    a.health = 200;
    await knows(lb, "node-1", "node-2");
  });

  test("a node that restarts with the same id is there again at once", async () => {
    const relays = [await relay()];
    const node = new FakeNode("node-1");
    node.join(relays);
    const lb = await startLb("lb-1", relays);
    await knows(lb, "node-1");
    const { client } = await openTunnel(lb);
    await node.leave();
    await client.untilEnd();
    client.finish();
    await lb.countsWhen(({ nodes }) => nodes["node-1"] === undefined);
    node.serve();
    node.join(relays);
    await knows(lb, "node-1");
    expect(statusOf(await lb.ask(get))).toBe(200);
    await lb.countsWhen(({ nodes }) => nodes["node-1"].connections === 0);
  });
});

describe("a relay that is away", () => {
  test("the nodes stay as last known, through its death and its return with an empty registry", async () => {
    const only = await relay();
    const node = new FakeNode("node-1");
    node.join([only]);
    const lb = await startLb("lb-1", [only]);
    await knows(lb, "node-1");
    const { client } = await openTunnel(lb);
    /** Serves before, until and after the lb logs this. */
    const servesThrough = async (words: string) => {
      const from = lb.log.length;
      const isLogged = async () => {
        expect(statusOf(await lb.ask(get))).toBe(200);
        return lb.log.includes(words, from);
      };
      await eventually(isLogged);
      for (let round = 0; round < 5; round++) expect(statusOf(await lb.ask(get))).toBe(200);
    };
    await Promise.all([servesThrough("lost the relay"), only.process.kill()]);
    await Promise.all([servesThrough("linked to the relay"), restart(only)]);
    await knows(lb, "node-1");
    expect(client.hasEnded).toBe(false);
  });

  test("a node that died meanwhile is found out by its checks, and forgotten when the relay has had time to refill", async () => {
    const only = await relay();
    const [a, b] = [new FakeNode("node-1"), new FakeNode("node-2")];
    for (const node of [a, b]) node.join([only]);
    const lb = await startLb("lb-1", [only]);
    await knows(lb, "node-1", "node-2");
    await only.process.kill();
    await b.leave();
    await knows(lb, "node-1");
    expect((await lb.counts()).nodes["node-2"].standing).toBe("open");
    await restart(only);
    await lb.countsWhen(({ nodes }) => nodes["node-2"] === undefined);
    expect(statusOf(await lb.ask(get))).toBe(200);
  }, 20_000);

  test("with two relays, what the living one says counts", async () => {
    const relays = [await relay(), await relay()];
    await Bun.write(join(relays[1].folder, "secret"), SECRET);
    const [a, b] = [new FakeNode("node-1"), new FakeNode("node-2")];
    const lb = await startLb("lb-1", relays);
    // The lb has them from the relay that lives on first, then from the other too.
    for (const node of [a, b]) node.join([relays[1]]);
    await knows(lb, "node-1", "node-2");
    for (const node of [a, b]) node.join([relays[0]]);
    await knows(await startLb("lb-2", [relays[0]]), "node-1", "node-2");
    await relays[0].process.kill();
    await b.leave();
    await lb.countsWhen(({ nodes }) => nodes["node-2"] === undefined);
    expect(statusOf(await lb.ask(get))).toBe(200);
  });
});

describe("several lbs", () => {
  test("count together, and their cookies mean the same", async () => {
    const relays = [await relay()];
    const nodes = ["node-1", "node-2", "node-3"].map((id) => new FakeNode(id));
    for (const node of nodes) node.join(relays);
    const lbs = [await startLb("lb-1", relays), await startLb("lb-2", relays)];
    for (const lb of lbs) await knows(lb, "node-1", "node-2", "node-3");
    const [one, other] = lbs;
    const first = await openTunnel(one);
    for (let each = 0; each < 9; each++) await openTunnel(one, first.cookie);
    await other.countsWhen((counts) => counts.nodes[first.node].elsewhere === 10);
    const elsewhere = [];
    for (let each = 0; each < 20; each++) elsewhere.push((await openTunnel(other)).node);
    expect(elsewhere).not.toContain(first.node);
    expect((await openTunnel(other, first.cookie)).node).toBe(first.node);
    // An lb that dies takes its counts along.
    one.child.kill("SIGKILL");
    await other.countsWhen((counts) => counts.nodes[first.node].elsewhere === 0);
    for (let each = 0; each < 5; each++) expect((await openTunnel(other)).node).toBe(first.node);
  });
});

test("a relay that cannot be reached: the lb says 503 until it can", async () => {
  const only = await relay();
  const { port } = only.process;
  await only.process.kill();
  const lb = await startLb("lb-1", [only]);
  expect(statusOf(await lb.ask(get))).toBe(503);
  only.process = await startRelay(only.folder, port);
  const node = new FakeNode("node-1");
  node.join([only]);
  await knows(lb, "node-1");
  expect(statusOf(await lb.ask(get))).toBe(200);
});
