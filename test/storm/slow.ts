// Readers stall in the middle of a flood; other readers must not be affected.

import { join } from "node:path";
import { connect, type Position } from "../../src/client/index.ts";
import { offsetShape, positionShape } from "../../src/wire/position.ts";
import { type Cluster, startCluster } from "../cluster/start.ts";
import { type Message, RawWebSocket } from "../security/raw-web-socket.ts";
import { Bystanders } from "./bystanders.ts";
import { quantile, rssMb } from "./watch.ts";

export type SlowOptions = {
  readonly stalled: number;
  readonly bystanders: number;
  readonly publications: number;
};

/**
 * `grownMb`: the peak growth of each process. `untold`: publications that stalled readers missed
 * without a gap. Latencies are those of the bystanders: without a flood, in a flood whose readers
 * keep up, and in the same flood while as many readers stall.
 */
export type SlowReport = {
  readonly disconnected: number;
  readonly recovered: number;
  readonly toldOfGap: number;
  readonly untold: readonly string[];
  readonly wrong: readonly string[];
  readonly grownMb: Readonly<Record<string, number>>;
  readonly calmP99Ms: number;
  readonly readP99Ms: number;
  readonly stalledP99Ms: number;
};

const CALM_MS = 1500;
/** The interval between publications in each channel of the flood. */
const EVERY_MS = 25;
const DATA = "x".repeat(60_000);
const SAMPLE_MS = 100;
const RESUMES_MAX = 10;
/** The first channel's history holds the whole flood; the second's almost nothing. */
const CHANNELS = ["kept:0", "short:0"];

/** A client that subscribes, and then reads nothing until `readOn`. */
class Stalled {
  readonly channel: string;
  #client: RawWebSocket;
  #epoch = "";
  #offset = 0;

  private constructor(channel: string, client: RawWebSocket) {
    this.channel = channel;
    this.#client = client;
  }

  static async at(address: string, channel: string): Promise<Stalled> {
    const client = await RawWebSocket.open(address);
    const ok = await client.ask({ type: "subscribe", id: 1, channel });
    const stalled = new Stalled(channel, client);
    const { epoch, offset } = positionShape(ok.position, "position");
    [stalled.#epoch, stalled.#offset] = [epoch, offset];
    client.socket.pause();
    return stalled;
  }

  /** Reads what was sent to it; resolves to whether it was disconnected. */
  async readOn(): Promise<boolean> {
    this.#client.socket.resume();
    await Promise.race([this.#client.ended(), Bun.sleep(10_000)]);
    for (const message of this.#client.inbox.splice(0)) this.#hear(message);
    return this.#client.isOver;
  }

  /**
   * Resumes from its position, several times if necessary, and reads up to `top`. Resolves to
   * whether a resume began with a gap.
   */
  async resume(address: string, top: number): Promise<"recovered" | "gap"> {
    let begun: "recovered" | "gap" = "recovered";
    for (let tries = 0; tries === 0 || (this.#offset < top && tries < RESUMES_MAX); tries++)
      if ((await this.#readUpTo(address, top)) === "gap") begun = "gap";
    if (this.#offset < top) throw new Error(`it stopped at ${this.#offset} of ${top}`);
    return begun;
  }

  /**
   * Reads until `top`, or until it is closed as too slow again, because the flood may continue.
   * Throws if a publication is missing without a gap.
   */
  async #readUpTo(address: string, top: number): Promise<"recovered" | "gap"> {
    using client = await RawWebSocket.open(address);
    const since = { epoch: this.#epoch, offset: this.#offset };
    const ok = await client.ask({ type: "subscribe", id: 2, channel: this.channel, since });
    if (ok.recovered !== true) this.#offset = positionShape(ok.position, "position").offset;
    while (this.#offset < top) {
      await client.until(() => client.inbox.length > 0 || client.isOver);
      if (client.inbox.length === 0) break;
      for (const message of client.inbox.splice(0)) this.#hear(message);
    }
    return ok.recovered === true ? "recovered" : "gap";
  }

  #hear(message: Message): void {
    if (message.type === "gap") this.#offset = positionShape(message.position, "position").offset;
    if (message.type !== "message" || message.channel !== this.channel) return;
    const offset = offsetShape(message.offset, "offset");
    if (offset !== this.#offset + 1)
      throw new Error(`${this.channel}: ${offset} follows ${this.#offset}`);
    this.#offset = offset;
  }

  [Symbol.dispose](): void {
    this.#client.socket.destroy();
  }
}

/** A client that subscribes, and discards what it receives. */
async function sink(address: string, channel: string): Promise<RawWebSocket> {
  const client = await RawWebSocket.open(address);
  await client.ask({ type: "subscribe", id: 1, channel });
  client.socket.removeAllListeners("data");
  client.socket.resume();
  return client;
}

/** Publishes the flood to both channels; resolves to their top offsets. */
async function flood(address: string, publications: number): Promise<number[]> {
  const client = connect(`ws://${address}`);
  const published: Promise<Position | undefined>[][] = CHANNELS.map(() => []);
  for (let n = 0; n < publications; n++) {
    for (const [i, name] of CHANNELS.entries())
      published[i].push(client.channel(name).publish(DATA));
    await Bun.sleep(EVERY_MS);
  }
  const tops = await Promise.all(
    published.map(async (all) => (await Promise.all(all)).at(-1)?.offset ?? 0),
  );
  await client.close();
  return tops;
}

/** Samples the memory of each process until it is stopped; then returns the peak growth. */
async function watchMemory(cluster: Cluster): Promise<() => Record<string, number>> {
  const processes = (await cluster.status()).processes.flatMap(({ id, pid }) =>
    pid === null ? [] : [{ id, pid }],
  );
  const before = new Map(processes.map(({ id, pid }) => [id, rssMb(pid)]));
  const most = new Map(before);
  const timer = setInterval(() => {
    for (const { id, pid } of processes) most.set(id, Math.max(most.get(id) ?? 0, rssMb(pid)));
  }, SAMPLE_MS);
  return () => {
    clearInterval(timer);
    return Object.fromEntries(
      processes.map(({ id }) => [id, Math.round((most.get(id) ?? 0) - (before.get(id) ?? 0))]),
    );
  };
}

export async function slow({
  stalled: count,
  bystanders: others,
  publications,
}: SlowOptions): Promise<SlowReport> {
  await using cluster = await startCluster({ nodes: 2, app: join(import.meta.dir, "app.ts") });
  const { address } = cluster;
  await using bystanders = new Bystanders(address, others, ["storm:0", "storm:1", "storm:2"]);
  await bystanders.ready();
  await bystanders.ask("lap");
  await Bun.sleep(CALM_MS);
  const calm = await bystanders.ask("lap");
  const sinks = await Promise.all(
    Array.from({ length: count }, (_, i) => sink(address, CHANNELS[i % 2])),
  );
  await flood(address, publications);
  const read = await bystanders.ask("lap");
  for (const { socket } of sinks) socket.destroy();
  const stalled = await Promise.all(
    Array.from({ length: count }, (_, i) => Stalled.at(address, CHANNELS[i % 2])),
  );
  const grown = await watchMemory(cluster);
  const tops = await flood(address, publications);
  const stalling = await bystanders.ask("lap");
  const untold: string[] = [];
  const came = await Promise.all(
    stalled.map(async (reader) => {
      try {
        const isOver = await reader.readOn();
        return {
          isOver,
          begun: await reader.resume(address, tops[CHANNELS.indexOf(reader.channel)]),
        };
      } catch (error) {
        untold.push(`${reader.channel}: ${error}`);
        return { isOver: false, begun: "" };
      }
    }),
  );
  for (const reader of stalled) reader[Symbol.dispose]();
  const { wrong } = await bystanders.ask("stop");
  return {
    disconnected: came.filter(({ isOver }) => isOver).length,
    recovered: came.filter(({ begun }) => begun === "recovered").length,
    toldOfGap: came.filter(({ begun }) => begun === "gap").length,
    untold,
    wrong: [...calm.wrong, ...read.wrong, ...stalling.wrong, ...wrong],
    grownMb: grown(),
    calmP99Ms: quantile(calm.latenciesMs, 0.99),
    readP99Ms: quantile(read.latenciesMs, 0.99),
    stalledP99Ms: quantile(stalling.latenciesMs, 0.99),
  };
}
