// All clients of a killed node reconnect at once; other clients must not be affected.

import { join } from "node:path";
import { type Client, connect } from "../../src/client/index.ts";
import { type Cluster, startCluster } from "../cluster/start.ts";
import { eventually } from "../eventually.ts";
import { Bystanders, type Sent } from "./bystanders.ts";
import { quantile, relayCounts } from "./watch.ts";

export type StormOptions = {
  readonly clients: number;
  readonly bystanders: number;
  readonly channels: number;
  readonly lbWorkers?: number;
};

/**
 * Times in ms. `wrong`: lost, repeated and reordered publications. `questions`: HISTORY requests to
 * the relay.
 */
export type StormReport = {
  readonly clients: number;
  readonly resumed: number;
  readonly recovered: number;
  readonly wrong: readonly string[];
  readonly p50Ms: number;
  readonly p95Ms: number;
  readonly maxMs: number;
  readonly questions: number;
  readonly calmP99Ms: number;
  readonly stormP99Ms: number;
};

const CONNECT_AT_ONCE = 250;
const CALM_MS = 2000;
const PATIENCE_MS = 60_000;

/** A client that checks that it receives every publication of a channel once, in order. */
class Reader {
  readonly client: Client;
  readonly wrong: string[] = [];
  /** When it last resumed its subscription. */
  resumedAtMs: number | undefined;
  recovered = false;
  next: number | undefined;
  readonly #channel: string;

  constructor(address: string, channel: string) {
    this.client = connect(`ws://${address}`);
    this.#channel = channel;
  }

  async read(): Promise<void> {
    const channel = this.client.channel<Sent>(this.#channel);
    channel.on("message", ({ data: { n } }) => {
      if (n !== (this.next ?? n)) this.wrong.push(`${this.#channel}: ${n}, not ${this.next}`);
      this.next = n + 1;
    });
    channel.on("subscribed", ({ recovered }) => {
      this.resumedAtMs = performance.now();
      this.recovered = recovered;
    });
    await channel.subscribe();
  }
}

async function connectAll(
  address: string,
  count: number,
  channels: readonly string[],
): Promise<Reader[]> {
  const readers = Array.from(
    { length: count },
    (_, i) => new Reader(address, channels[i % channels.length]),
  );
  for (let at = 0; at < count; at += CONNECT_AT_ONCE)
    await Promise.all(readers.slice(at, at + CONNECT_AT_ONCE).map((reader) => reader.read()));
  return readers;
}

/** Resolves when `isOne` is true of no reader. */
async function none(
  readers: readonly Reader[],
  what: string,
  isOne: (reader: Reader) => boolean,
): Promise<void> {
  const left = () => readers.filter(isOne).length;
  await eventually(left, (count) => count === 0, { withinMs: PATIENCE_MS, what });
}

/** All storm clients are on node-1 when it is killed: it was the only node when they connected. */
export async function storm(options: StormOptions): Promise<StormReport> {
  const { clients, bystanders, channels, lbWorkers = 1 } = options;
  const args = ["--lb-workers", String(lbWorkers)];
  await using cluster = await startCluster({
    nodes: 1,
    app: join(import.meta.dir, "app.ts"),
    args,
  });
  const names = Array.from({ length: channels }, (_, i) => `storm:${i}`);
  const readers = await connectAll(cluster.address, clients, names);
  try {
    return await strike(cluster, readers, bystanders, names);
  } finally {
    await Promise.all(readers.map(({ client }) => client.close({ withinMs: 0 })));
  }
}

async function strike(
  cluster: Cluster,
  readers: readonly Reader[],
  count: number,
  channels: readonly string[],
): Promise<StormReport> {
  await cluster.run("scale", "3");
  await using bystanders = new Bystanders(cluster.address, count, channels);
  await bystanders.ready();
  await bystanders.ask("lap");
  await Bun.sleep(CALM_MS);
  const calm = await bystanders.ask("lap");
  const before = await relayCounts(cluster);
  for (const reader of readers) reader.resumedAtMs = undefined;
  const killedAtMs = performance.now();
  await cluster.kill("node-1");
  await none(
    readers,
    "clients that have not come back",
    ({ resumedAtMs }) => resumedAtMs === undefined,
  );
  const stormy = await bystanders.ask("lap");
  const after = await relayCounts(cluster);
  const { published, wrong } = await bystanders.ask("stop");
  await none(
    readers,
    "clients that do not have the last publication",
    ({ next }) => next !== published + 1,
  );
  const tookMs = readers.flatMap(({ resumedAtMs }) =>
    resumedAtMs === undefined ? [] : resumedAtMs - killedAtMs,
  );
  return {
    clients: readers.length,
    resumed: tookMs.length,
    recovered: readers.filter(({ recovered }) => recovered).length,
    wrong: [...readers.flatMap((reader) => reader.wrong), ...calm.wrong, ...stormy.wrong, ...wrong],
    p50Ms: quantile(tookMs, 0.5),
    p95Ms: quantile(tookMs, 0.95),
    maxMs: quantile(tookMs, 1),
    questions: after.questions - before.questions,
    calmP99Ms: quantile(calm.latenciesMs, 0.99),
    stormP99Ms: quantile(stormy.latenciesMs, 0.99),
  };
}
