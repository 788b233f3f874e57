// Question "lb": the cost of the load balancer. Compares tutti's lb with haproxy and nginx, one
// thread each, in front of the same server.

import { join } from "node:path";
import { haproxy, nginx, tuttiLb } from "./load-balancers.ts";
import {
  type Figures,
  inTurns,
  type Measurement,
  memoryKbOf,
  Stopwatch,
  treesOf,
} from "./measure.ts";
import { Load, temporaryFolder } from "./processes.ts";
import type { Question, Scale } from "./question.ts";

type Contestant = {
  readonly name: string;
  readonly pid: number;
  readonly load: Load;
  stop(): Promise<void>;
};
type Case = {
  readonly what: string;
  readonly tunnels: number;
  readonly messages: number;
  readonly task: object;
};

const CASES: readonly Case[] = [
  {
    what: "echo 64 B, 1 in flight",
    tunnels: 100,
    messages: 30_000,
    task: { kind: "echo", bytes: 64, inFlight: 1 },
  },
  {
    what: "echo 64 B, 16 in flight",
    tunnels: 100,
    messages: 150_000,
    task: { kind: "echo", bytes: 64, inFlight: 16 },
  },
  {
    what: "echo 4 KiB, 1 in flight",
    tunnels: 100,
    messages: 25_000,
    task: { kind: "echo", bytes: 4096, inFlight: 1 },
  },
  {
    what: "echo 64 KiB, 1 in flight",
    tunnels: 100,
    messages: 6000,
    task: { kind: "echo", bytes: 65_536, inFlight: 1 },
  },
  {
    what: "HTTP GET, kept alive",
    tunnels: 0,
    messages: 20_000,
    task: { kind: "get", connections: 100 },
  },
  { what: "new WebSocket and one echo", tunnels: 0, messages: 2000, task: { kind: "connect" } },
];
const QUICK_SHARE = 0.2;
const IDLE_TUNNELS = 9000;
const IDLE_TUNNELS_QUICK = 1000;

async function contestants(server: Load): Promise<Contestant[]> {
  const unix = join(temporaryFolder(), "server.sock");
  await server.ask({ unix });
  const tcp = async () => `127.0.0.1:${(await server.ask({})).port}`;
  const loadBalancers = [
    await tuttiLb([`unix:${unix}`], "tutti lb, unix socket behind it"),
    await tuttiLb([await tcp()], "tutti lb"),
    await haproxy([await tcp()]),
    await nginx([await tcp()]),
  ];
  return Promise.all(
    loadBalancers
      .filter((each) => each !== undefined)
      .map(async ({ name, pid, port, stop }) => {
        const load = new Load("lb.ts");
        await load.ask({ kind: "aim", port });
        return { name, pid, load, stop: () => Promise.all([stop(), load.stop()]).then(() => {}) };
      }),
  );
}

async function measure(
  { pid, load }: Contestant,
  server: Load,
  { messages, task }: Case,
): Promise<Figures> {
  const [lbWatch, serverWatch, loadWatch] = [
    new Stopwatch([pid]),
    new Stopwatch([server.pid]),
    new Stopwatch([load.pid]),
  ];
  const latencies = await load.ask({ ...task, messages });
  const lbUs = lbWatch.cpuUs / messages;
  const serverUs = serverWatch.cpuUs / messages;
  const perSecond = messages / lbWatch.seconds;
  return {
    cpuUs: lbUs + serverUs,
    lbUs,
    serverUs,
    perSecond,
    ...latencies,
    loadCores: loadWatch.cores,
  };
}

/** Memory of the lb for each idle tunnel, in KB; empty if it cannot hold that many. */
async function idle(
  { name, pid, load }: Contestant,
  tunnels: number,
  note: Scale["note"],
): Promise<Figures> {
  const memoryKb = () => memoryKbOf(treesOf([pid]));
  await load.ask({ kind: "hold", tunnels: 100 });
  const before = memoryKb();
  try {
    await load.ask({ kind: "hold", tunnels });
  } catch (error) {
    note(
      `${name} does not hold ${tunnels} tunnels: ${error instanceof Error ? error.message : String(error)}`,
    );
    return {};
  }
  const memory = (memoryKb() - before) / (tunnels - 100);
  await load.ask({ kind: "hold", tunnels: 0 });
  return { kbPerTunnel: memory };
}

export const lb: Question = {
  name: "lb",
  asks: "What does the load balancer cost?",
  method:
    "100 connections through one load balancer with one thread to one server; CPU is that of load balancer and server together. tutti's nodes listen on unix sockets; the second row is the same lb with TCP upstreams.",
  columns: [
    { figure: "cpuUs", title: "CPU per message, µs", digits: 1 },
    { figure: "lbUs", title: "of this the lb, µs", digits: 1 },
    { figure: "perSecond", title: "per second", digits: 0 },
    { figure: "p50Ms", title: "p50, ms", digits: 2 },
    { figure: "p99Ms", title: "p99, ms", digits: 2 },
    { figure: "loadCores", title: "load, cores", digits: 2 },
    { figure: "kbPerTunnel", title: "KB per tunnel", digits: 1 },
  ],
  plot: { figure: "cpuUs", title: "CPU per message, µs", kind: "bars" },

  async run({ isQuick, rounds, note }) {
    const server = new Load("echo-server.ts");
    const ready = await contestants(server);
    const measurements: Measurement[] = [];
    const tunnels = isQuick ? IDLE_TUNNELS_QUICK : IDLE_TUNNELS;
    // First, and once only: used memory is not returned at once.
    measurements.push(
      ...(await inTurns(`${tunnels} idle tunnels`, ready, 1, (contestant) =>
        idle(contestant, tunnels, note),
      )),
    );
    for (const each of CASES) {
      const reduced = {
        ...each,
        messages: isQuick ? Math.ceil(each.messages * QUICK_SHARE) : each.messages,
      };
      for (const { load } of ready) await load.ask({ kind: "hold", tunnels: each.tunnels });
      // Warm up first: a lb that is compiled at run time is slower in its first seconds.
      for (const contestant of ready) await measure(contestant, server, each);
      measurements.push(
        ...(await inTurns(each.what, ready, rounds, (contestant) =>
          measure(contestant, server, reduced),
        )),
      );
    }
    await Promise.all([server.stop(), ...ready.map(({ stop }) => stop())]);
    return measurements;
  },
};
