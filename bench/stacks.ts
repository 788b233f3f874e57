// Starts the whole stacks that are compared: tutti, and what it replaces.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Kind } from "./load/protocols.ts";
import { haproxy } from "./load-balancers.ts";
import {
  freePort,
  PEERS,
  type Program,
  peerVersion,
  startOnPort,
  temporaryFolder,
} from "./processes.ts";
import { startTutti } from "./tutti.ts";

export type Stack = {
  readonly name: string;
  /** Selects the protocol that clients use. */
  readonly kind: Kind;
  /** Where they connect. */
  readonly port: number;
  /** Its processes; their descendants count too. */
  readonly pids: readonly number[];
  /** A server to kill; undefined if there is only one. */
  victim(): Promise<number | undefined>;
  stop(): Promise<void>;
};

const NODES = 4;
const APP = join(import.meta.dir, "load/app.ts");

export async function tutti(
  name = "tutti",
  flags = ["--nodes", String(NODES)],
  env = {},
): Promise<Stack> {
  const { pid, port, pidOf, stop } = await startTutti(["--app", APP, ...flags], env);
  return { name, kind: "tutti", port, pids: [pid], victim: () => pidOf("node-2"), stop };
}

/** haproxy, four servers on Node, and redis. */
async function behindHaproxy(
  name: string,
  kind: Kind,
  script: string,
  packages: string[],
): Promise<Stack | undefined> {
  const versions = await Promise.all(packages.map(peerVersion));
  if (
    versions.includes(undefined) ||
    Bun.which("redis-server") === null ||
    Bun.which("haproxy") === null
  )
    return undefined;
  const redisPort = await freePort();
  const redis = await startOnPort(
    [
      "redis-server",
      "--bind",
      "127.0.0.1",
      "--port",
      String(redisPort),
      "--save",
      "",
      "--dir",
      temporaryFolder(),
    ],
    redisPort,
  );
  const servers: Program[] = [];
  const upstreams: string[] = [];
  for (let i = 0; i < NODES; i++) {
    const port = await freePort();
    servers.push(
      await startOnPort(["node", join(PEERS, script), String(port), String(redisPort)], port),
    );
    upstreams.push(`127.0.0.1:${port}`);
  }
  const lb = await haproxy(upstreams);
  if (lb === undefined) return undefined;
  const all = [lb, ...servers, redis];
  return {
    name,
    kind,
    port: lb.port,
    pids: all.map(({ pid }) => pid),
    victim: async () => servers[1].pid,
    stop: async () => {
      for (const program of all) await program.stop();
    },
  };
}

const classic = () =>
  behindHaproxy("haproxy, 4 × ws, redis", "classic", "ws-server.js", ["ws", "redis"]);
const socketIo = () =>
  behindHaproxy("haproxy, 4 × Socket.IO, redis", "socketIo", "socket-io-server.js", [
    "socket.io",
    "@socket.io/redis-adapter",
    "redis",
  ]);

async function nats(): Promise<Stack | undefined> {
  if (Bun.which("nats-server") === null) return undefined;
  const [port, webSocketPort] = [await freePort(), await freePort()];
  const config = join(temporaryFolder(), "nats.conf");
  writeFileSync(
    config,
    `listen: 127.0.0.1:${port}\nwebsocket { listen: "127.0.0.1:${webSocketPort}", no_tls: true }\n`,
  );
  const { pid, stop } = await startOnPort(["nats-server", "--config", config], webSocketPort);
  return {
    name: "nats-server, WebSocket",
    kind: "nats",
    port: webSocketPort,
    pids: [pid],
    victim: async () => undefined,
    stop,
  };
}

async function socketCluster(): Promise<Stack | undefined> {
  if ((await peerVersion("socketcluster-server")) === undefined) return undefined;
  const port = await freePort();
  const { pid, stop } = await startOnPort(
    ["node", join(PEERS, "socketcluster-server.js"), String(port)],
    port,
  );
  return {
    name: "SocketCluster, 1 process",
    kind: "socketCluster",
    port,
    pids: [pid],
    victim: async () => undefined,
    stop,
  };
}

/** Starts every stack of these kinds that is installed, tutti first. */
export async function startStacks(kinds: readonly Kind[]): Promise<Stack[]> {
  const starters: Record<Kind, () => Promise<Stack | undefined>> = {
    tutti,
    classic,
    socketIo,
    nats,
    socketCluster,
  };
  const stacks: Stack[] = [];
  for (const kind of kinds) {
    const stack = await starters[kind]();
    if (stack !== undefined) stacks.push(stack);
  }
  return stacks;
}

/** The kinds to compare; --quick omits the least known. */
export const kindsFor = (isQuick: boolean): Kind[] =>
  isQuick
    ? ["tutti", "classic", "socketIo", "nats"]
    : ["tutti", "classic", "socketIo", "nats", "socketCluster"];
