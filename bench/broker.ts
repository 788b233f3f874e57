// Question "broker": the cost of the broker alone. Compares tutti's relay, which journals and keeps
// history, with brokers that do and brokers that do not.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { CHANNELS, PAYLOAD_BYTES, SUBSCRIBERS } from "./load/broker-driver.ts";
import { inTurns, memoryKbOf, Stopwatch } from "./measure.ts";
import { freePort, Load, startOnPort, temporaryFolder } from "./processes.ts";
import type { Question } from "./question.ts";
import { startTutti } from "./tutti.ts";

type Contestant = {
  readonly name: string;
  readonly pid: number;
  readonly load: Load;
  /** The share of the publications, so that a round takes about as long with each broker. */
  readonly share: number;
  stop(): Promise<void>;
};
/** A broker that has been started. */
type Broker = { pid: number; port: number; secret?: string; stop(): Promise<void> };

const PUBLICATIONS = 500_000;
/** Warm-up publications, enough to fill the relay's ring of segments (128 or 64 MB) once. */
const WARM_UP = 1_000_000;
const PUBLICATIONS_QUICK = 100_000;
const WARM_UP_QUICK = 500_000;

async function relay(isQuick: boolean): Promise<Broker> {
  const tutti = await startTutti(["--nodes", "1", "--memory-mb", isQuick ? "64" : "128"]);
  const secret = readFileSync(join(tutti.folder, "secret"), "utf8").trim();
  return {
    pid: await tutti.pidOf("relay-1"),
    port: await tutti.relayPort(),
    secret,
    stop: tutti.stop,
  };
}

async function redis(...flags: string[]): Promise<Broker> {
  const port = await freePort();
  const argv = [
    "redis-server",
    "--bind",
    "127.0.0.1",
    "--port",
    String(port),
    "--dir",
    temporaryFolder(),
    "--save",
    "",
    ...flags,
  ];
  return { port, ...(await startOnPort(argv, port)) };
}

async function nats(settings = ""): Promise<Broker> {
  const port = await freePort();
  const config = join(temporaryFolder(), "nats.conf");
  writeFileSync(config, `listen: 127.0.0.1:${port}\n${settings}\n`);
  return { port, ...(await startOnPort(["nats-server", "--config", config], port)) };
}

const BROKERS = [
  { name: "tutti relay (journal, history)", command: "bun", kind: "relay", share: 1, start: relay },
  {
    name: "redis PUBLISH (no history)",
    command: "redis-server",
    kind: "redisPublish",
    share: 0.5,
    start: () => redis(),
  },
  {
    name: "redis XADD, XREAD (append-only file)",
    command: "redis-server",
    kind: "redisStreams",
    share: 0.1,
    start: () => redis("--appendonly", "yes", "--appendfsync", "no"),
  },
  {
    name: "nats core (no history)",
    command: "nats-server",
    kind: "nats",
    share: 0.5,
    start: () => nats(),
  },
  {
    name: "nats JetStream (file)",
    command: "nats-server",
    kind: "jetStream",
    share: 0.1,
    start: () => nats(`jetstream { store_dir: "${temporaryFolder()}" }`),
  },
];

async function contestants(isQuick: boolean): Promise<Contestant[]> {
  const ready: Contestant[] = [];
  for (const { name, command, kind, share, start } of BROKERS) {
    if (Bun.which(command) === null) continue;
    const broker = await start(isQuick);
    const load = new Load("broker.ts");
    await load.ask({ kind, port: broker.port, secret: broker.secret });
    const stop = () => Promise.all([broker.stop(), load.stop()]).then(() => {});
    ready.push({ name, pid: broker.pid, load, share, stop });
  }
  return ready;
}

export const broker: Question = {
  name: "broker",
  asks: "What does the broker alone cost?",
  method: `Publications of ${PAYLOAD_BYTES} bytes over ${CHANNELS} channels, each to ${SUBSCRIBERS} subscribers, up to 1,000 in flight. The load generator is one process; where it is busier than the broker, the rate is limited by the load generator.`,
  columns: [
    { figure: "cpuUs", title: "broker CPU per publication, µs", digits: 2 },
    { figure: "perSecond", title: "publications per second", digits: 0 },
    { figure: "cores", title: "broker, cores", digits: 2 },
    { figure: "loadCores", title: "load, cores", digits: 2 },
    { figure: "memoryMb", title: "broker memory, MB", digits: 0 },
  ],
  plot: { figure: "cpuUs", title: "broker CPU per publication, µs", kind: "bars" },

  async run({ isQuick, rounds }) {
    const ready = await contestants(isQuick);
    const publications = isQuick ? PUBLICATIONS_QUICK : PUBLICATIONS;
    const warmUp = isQuick ? WARM_UP_QUICK : WARM_UP;
    for (const { load, share } of ready)
      await load.ask({ count: share === 1 ? warmUp : publications * share });
    const measurements = await inTurns(
      "100 channels, 4 subscribers",
      ready,
      rounds,
      async ({ pid, load, share }) => {
        const count = publications * share;
        const watch = new Stopwatch([pid]);
        const loadWatch = new Stopwatch([load.pid]);
        const { seconds } = await load.ask({ count });
        return {
          cpuUs: watch.cpuUs / count,
          perSecond: count / seconds,
          cores: watch.cores,
          loadCores: loadWatch.cores,
          memoryMb: memoryKbOf([pid]) / 1024,
        };
      },
    );
    await Promise.all(ready.map(({ stop }) => stop()));
    return measurements;
  },
};
