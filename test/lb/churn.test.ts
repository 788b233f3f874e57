// Hostile churn: whatever way connections end, the lb's file descriptors and counts are afterwards
// what they were.

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { Lb, type RawPeer, ScriptedServer, statusOf } from "./harness.ts";
import { opening, SWITCHED, switching } from "./messages.ts";

setDefaultTimeout(60_000);

let server: ScriptedServer;
let lb: Lb;

beforeAll(async () => {
  server = await ScriptedServer.listen();
  // Some of what the server does here would fail a health check as well.
  const flags = ["--upstream", server.address, "--fall", "1000", "--half-closed-timeout-ms", "300"];
  lb = await Lb.start(...flags);
  await lb.connect();
  lb.hangUp();
  await settled();
});
afterAll(async () => {
  await lb.stop();
  await server.stop();
});

const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const POST = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf";

const fds = () => readdirSync(`/proc/${lb.pid}/fd`).length;
const rssKb = () =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${lb.pid}/status`, "utf8"))?.[1]);
const settled = () =>
  lb.countsWhen(
    ({ connections, live, upstreams, waiting, nodes }) =>
      connections + live + upstreams + waiting + nodes[server.address].connections === 0,
  );

const tunnelled = async (client: RawPeer) => {
  client.send(opening());
  await client.head();
};
/** The server's end of the newest tunnel or exchange. */
const newest = () => server.connections[server.connections.length - 1];

/** Every way to end: what the server does, and what the client does until it is over. */
const WAYS: Record<
  string,
  { script?: (peer: RawPeer) => unknown; act: (client: RawPeer) => unknown }
> = {
  "a reset before the head": { act: (client) => client.reset() },
  "a FIN before the head": { act: (client) => client.finish() },
  "a reset after half a head": {
    act: (client) => {
      client.send(GET.slice(0, 9));
      client.reset();
    },
  },
  "a FIN after half a head": {
    act: (client) => {
      client.send(GET.slice(0, 9));
      client.finish();
    },
  },
  "a reset right after the head, during the dial": {
    act: (client) => {
      client.send(GET);
      client.socket.once("drain", () => client.reset());
      setImmediate(() => client.reset());
    },
  },
  "a reset before the answer": {
    act: async (client) => {
      client.send(GET);
      await (await arrived())?.head();
      client.reset();
    },
  },
  "a reset in the middle of a body": {
    act: async (client) => {
      client.send(POST);
      await (await arrived())?.until("half");
      client.reset();
    },
  },
  "a bad request": { act: (client) => client.send("nonsense\r\n\r\n") },
  "a server that resets instead of answering": {
    script: (peer) => peer.reset(),
    act: (client) => client.send(POST),
  },
  "a server that ends instead of answering": {
    script: (peer) => peer.finish(),
    act: (client) => client.send(POST),
  },
  "a truncated answer": {
    script: async (peer) => {
      await peer.head();
      peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
      peer.finish();
    },
    act: (client) => client.send(GET),
  },
  "an answer, then the client is gone": {
    script: async (peer) => {
      await peer.head();
      peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    },
    act: async (client) => {
      client.send(GET);
      await client.until("ok");
      client.reset();
    },
  },
  "a reset before the 101": {
    act: async (client) => {
      client.send(opening());
      await (await arrived())?.head();
      client.reset();
    },
  },
  "a 403 instead of a 101": {
    script: async (peer) => {
      await peer.head();
      peer.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    },
    act: (client) => client.send(opening()),
  },
  "a false 101": {
    script: async (peer) => {
      await peer.head();
      peer.send(SWITCHED.replace("s3p", "xxx"));
    },
    act: (client) => client.send(opening()),
  },
  "a tunnel, reset by the client": {
    script: switching,
    act: async (client) => {
      await tunnelled(client);
      client.reset();
    },
  },
  "a tunnel, reset by the server": {
    script: switching,
    act: async (client) => {
      await tunnelled(client);
      newest().reset();
    },
  },
  "a tunnel, half-closed by the client": {
    script: switching,
    act: async (client) => {
      await tunnelled(client);
      client.finish();
    },
  },
  "a tunnel, half-closed by the server": {
    script: switching,
    act: async (client) => {
      await tunnelled(client);
      newest().finish();
    },
  },
  "a tunnel with a stalled reader, reset": {
    script: switching,
    act: async (client) => {
      await tunnelled(client);
      client.socket.pause();
      newest().send(new Uint8Array(200_000));
      await new Promise((resolve) => setImmediate(resolve));
      client.reset();
    },
  },
};

/** The server's end of a connection that was just caused, if it gets that far. */
const arrived = (): Promise<RawPeer | undefined> =>
  Promise.race([server.nextConnection(), Bun.sleep(1000).then(() => undefined)]);

/**
 * What comes after its client has gone: a FIN alone does not tell, so the lb would wait for the
 * answer.
 */
const late = (peer: RawPeer) => peer.reset();

const CONNECTIONS = 20_000;
const AT_ONCE = 20;
/** Connections that end each way in a pass: two passes are counted, after one that is not. */
const CYCLES = Math.ceil(CONNECTIONS / 2 / Object.keys(WAYS).length);

test("every way of ending leaves nothing behind", async () => {
  const ways = Object.values(WAYS);
  const cycle = async ({ script, act }: (typeof ways)[number]) => {
    server.script = async (peer) => {
      await script?.(peer);
    };
    for (let round = 0; round < CYCLES; round += AT_ONCE) {
      const clients = await Promise.all(Array.from({ length: AT_ONCE }, () => lb.connect()));
      await Promise.all(clients.map((client) => Promise.resolve(act(client)).catch(() => {})));
      await Promise.all(
        clients.map((client) => Promise.race([client.untilEnd().catch(() => {}), Bun.sleep(5)])),
      );
      lb.hangUp();
    }
  };
  for (const way of ways) await cycle(way);
  server.play(late);
  await settled();
  const before = { fds: fds(), rssKb: rssKb() };
  for (const way of [...ways, ...ways]) await cycle(way);
  server.play(late);
  await settled();
  expect(fds()).toBeLessThanOrEqual(before.fds + 1);
  expect(rssKb() - before.rssKb).toBeLessThan(30_000);
  expect(lb.log.split("\n").find((line) => line.includes("an error of the lb"))).toBeUndefined();
  server.script = async (peer) => {
    await peer.head();
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  };
  expect(statusOf(await lb.ask("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"))).toBe(
    200,
  );
}, 120_000);
