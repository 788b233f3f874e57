// Clients connect and disconnect in different ways; afterwards each process must use the same
// memory as before.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { integer, object, type Shaped } from "../../src/wire/shape.ts";
import { type Cluster, startCluster, temporaryFolder } from "../cluster/start.ts";
import { eventually } from "../eventually.ts";
import { clientFrame, handshake, RawWebSocket } from "../security/raw-web-socket.ts";
import { relayCounts } from "../storm/watch.ts";

export type SoakOptions = {
  readonly connections: number;
  /** Called with a line of progress. */
  readonly say: (line: string) => void;
};

/** Bytes per connection, fitted over the samples after the warm-up. */
export type Slope = { readonly id: string; readonly heap: number; readonly rss: number };
/** `openChannels`: the channels that the nodes have open on the relay, before and after. */
export type SoakReport = {
  readonly slopes: readonly Slope[];
  readonly openChannels: { readonly before: number; readonly after: number };
  readonly failed: number;
};

/**
 * What growth is no leak, in bytes. `once`, however long the run: a table that fills and empties
 * keeps its size, and a process of which the allocator keeps freed pages grows in steps. `each`:
 * per connection; what a session leaves behind is some kilobytes.
 */
const ALLOWED = {
  heap: { once: 1.5 * 1024 * 1024, each: 10 },
  rss: { once: 40 * 1024 * 1024, each: 50 },
};

/** The slopes that are allowed to a run of so many connections. */
export function slopesMax(connections: number): { readonly heap: number; readonly rss: number } {
  const { heap, rss } = ALLOWED;
  return {
    heap: heap.once / connections + heap.each,
    rss: rss.once / connections + rss.each,
  };
}

const RELAY_MB = 32;
const LANES = 40;
const SAMPLES = 16;
/** The share of the samples to ignore, while code is compiled and tables grow. */
const WARM_UP = 0.3;
const SHARED_CHANNELS = 100;
const OWN_CHANNELS = 1000;
const QUIET_MS = 30_000;
/** Longer than a node keeps an unused channel. */
const FREED_MS = 60_000;

const count = integer(0, Number.MAX_SAFE_INTEGER);
const noteShape = object({
  count,
  heapBytes: count,
  extraMemorySize: count,
  objectCount: count,
  rssBytes: count,
});
type Note = Shaped<typeof noteShape>;

/** What a client does between connect and disconnect. */
async function converse(client: RawWebSocket, channel: string): Promise<void> {
  await client.ask({ type: "subscribe", id: 1, channel });
  client.send({ type: "publish", channel, data: { text: "hello" } });
  await client.next("message");
  await client.ask({ type: "call", id: 2, method: "echo", params: [channel] });
  await client.ask({ type: "history", id: 3, channel, limit: 5 });
}

const CLOSE = clientFrame(new Uint8Array([0x03, 0xe8]), 0x88);

/** The ways to connect and disconnect, used in turn. */
const WAYS: readonly ((address: string, channel: string) => Promise<void>)[] = [
  async (address, channel) => {
    using client = await RawWebSocket.open(address);
    await converse(client, channel);
    client.socket.write(CLOSE);
    await client.ended();
  },
  async (address, channel) => {
    using client = await RawWebSocket.open(address, "/", {
      "Sec-WebSocket-Protocol": "tutti.v1.json",
      Cookie: "a=b",
    });
    await converse(client, channel);
    client.socket.end();
    await client.ended();
  },
  async (address, channel) => {
    using client = await RawWebSocket.open(address);
    await converse(client, channel);
    client.socket.resetAndDestroy();
  },
  async (address) => {
    using client = RawWebSocket.dial(address, handshake("/"));
    await new Promise((resolve) => client.socket.once("connect", resolve));
  },
  async (address, channel) => {
    using client = await RawWebSocket.open(address);
    client.send({ type: "subscribe", channel });
    client.send({ type: "publish", channel, data: "unheard" });
  },
  async (address) => {
    await (await fetch(`http://${address}/`, { headers: { Connection: "close" } })).text();
  },
];

/** Runs clients `from` up to `to`, LANES at a time. Resolves to the number that failed. */
async function churn(address: string, from: number, to: number): Promise<number> {
  let [next, failed] = [from, 0];
  const lane = async () => {
    while (next < to) {
      const n = next++;
      await WAYS[n % WAYS.length](address, `shared:${n % SHARED_CHANNELS}`).catch(() => {
        failed++;
      });
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
  return failed;
}

/** Fills the relay's ring of segments once, so that its memory for history no longer grows. */
async function fillHistory(address: string): Promise<void> {
  using client = await RawWebSocket.open(address);
  const data = "x".repeat(60_000);
  for (let n = 0; n < (RELAY_MB * 1024 * 1024 * 1.2) / data.length; n++)
    await client.ask({ type: "publish", id: n, channel: "own:history", data });
}

/** Uses each channel once, by one client. */
async function useOwnChannels(address: string): Promise<void> {
  for (let n = 0; n < OWN_CHANNELS; n += 50) {
    using client = await RawWebSocket.open(address);
    await Promise.all(
      Array.from({ length: 50 }, (_, i) =>
        client.ask({ type: "subscribe", id: i + 1, channel: `own:${n + i}` }),
      ),
    );
  }
}

class Meter {
  readonly #folder: string;
  readonly #processes: readonly { id: string; pid: number }[];
  readonly #samples = new Map<string, { connections: number; note: Note }[]>();

  constructor(folder: string, processes: readonly { id: string; pid: number }[]) {
    this.#folder = folder;
    this.#processes = processes;
    for (const { id } of processes) this.#samples.set(id, []);
  }

  /** Makes every process write its memory use. */
  async sample(connections: number): Promise<void> {
    for (const { id, pid } of this.#processes) {
      const samples = this.#samples.get(id) ?? [];
      process.kill(pid, "SIGUSR1");
      const note = await this.#note(pid, samples.length + 1);
      samples.push({ connections, note });
    }
  }

  slopes(): Slope[] {
    return [...this.#samples].map(([id, samples]) => {
      const later = samples.slice(Math.floor(WARM_UP * samples.length));
      const slopeOf = (value: (note: Note) => number) =>
        slope(later.map(({ connections, note }) => [connections, value(note)]));
      return {
        id,
        heap: slopeOf(({ heapBytes }) => heapBytes),
        rss: slopeOf(({ rssBytes }) => rssBytes),
      };
    });
  }

  get line(): string {
    return [...this.#samples]
      .map(([id, samples]) => {
        const note = samples.at(-1)?.note;
        return `${id} ${mb(note?.heapBytes)}/${mb(note?.rssBytes)} MB`;
      })
      .join("  ");
  }

  async #note(pid: number, wanted: number): Promise<Note> {
    const file = join(this.#folder, `${pid}.json`);
    await eventually(() => existsSync(file), Boolean, { withinMs: QUIET_MS, what: file });
    const look = () => noteShape(JSON.parse(readFileSync(file, "utf8")), file);
    return await eventually(look, ({ count }) => count >= wanted, {
      withinMs: QUIET_MS,
      what: file,
    });
  }
}

const mb = (bytes = 0) => (bytes / 1024 / 1024).toFixed(1);

/** The slope of the least-squares line through the points. */
function slope(points: readonly (readonly [number, number])[]): number {
  const mean = (values: readonly number[]) =>
    values.reduce((sum, value) => sum + value, 0) / values.length;
  const [meanX, meanY] = [mean(points.map(([x]) => x)), mean(points.map(([, y]) => y))];
  const covariance = points.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0);
  return covariance / points.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0);
}

/** Resolves when no client is left. */
async function quiet(cluster: Cluster): Promise<void> {
  const busy = async () =>
    (await cluster.status()).processes.filter(
      ({ role, connections }) => role !== "relay" && connections > 0,
    );
  await eventually(busy, ({ length }) => length === 0, {
    withinMs: QUIET_MS,
    what: "what still has clients",
  });
}

async function openChannels(cluster: Cluster): Promise<number> {
  return (await relayCounts(cluster)).openings;
}

export async function soak({ connections, say }: SoakOptions): Promise<SoakReport> {
  await using folder = await temporaryFolder();
  await using cluster = await startCluster({
    nodes: 2,
    app: join(import.meta.dir, "app.ts"),
    args: ["--memory-mb", String(RELAY_MB)],
    env: {
      BUN_OPTIONS: `--preload=${join(import.meta.dir, "measure.ts")}`,
      TUTTI_SOAK_FOLDER: folder.path,
    },
  });
  const processes = (await cluster.status()).processes.flatMap(({ id, pid }) =>
    pid === null ? [] : [{ id, pid }],
  );
  const meter = new Meter(folder.path, [...processes, { id: "supervisor", pid: cluster.pid }]);
  let failed = await churn(cluster.address, 0, SHARED_CHANNELS * WAYS.length);
  await fillHistory(cluster.address);
  const before = await openChannels(cluster);
  await useOwnChannels(cluster.address);
  const startedMs = performance.now();
  for (let sample = 1; sample <= SAMPLES; sample++) {
    const to = Math.round((sample * connections) / SAMPLES);
    failed += await churn(cluster.address, Math.round(((sample - 1) * connections) / SAMPLES), to);
    await quiet(cluster);
    await meter.sample(to);
    say(
      `${String(to).padStart(8)} connections, ${Math.round(to / ((performance.now() - startedMs) / 1000))}/s  ${meter.line}`,
    );
  }
  let after = await openChannels(cluster);
  for (
    const deadline = performance.now() + FREED_MS;
    after > before && performance.now() < deadline;
  ) {
    await Bun.sleep(500);
    after = await openChannels(cluster);
  }
  return { slopes: meter.slopes(), openChannels: { before, after }, failed };
}
