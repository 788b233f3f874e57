// One chaos run: starts a cluster and its clients, injects faults, waits until everything has
// arrived, and checks the recorded history.

import { below, pick, type Random, seeded } from "../runtime/random.ts";
import { check } from "./checker.ts";
import { Cluster } from "./cluster.ts";
import { Faults } from "./faults.ts";
import type { Violation } from "./history.ts";
import { Ledger, type Summary } from "./ledger.ts";
import { PlainClient } from "./plain-client.ts";
import { SdkClient } from "./sdk-client.ts";

/** A client that publishes, and records what it receives. */
type WorkloadClient = {
  publish(channel: string): void;
  /** Leaves its node for one that the lb chooses, so that restarted nodes get clients again. */
  reconnect?(): void;
  /** Resolves when its connection is closed. */
  close(): Promise<void>;
};

export type ChaosOptions = {
  readonly seconds: number;
  readonly clients: number;
  readonly channels: number;
  /** Publications per second, of all clients together. */
  readonly rate: number;
  readonly seed: number;
  readonly nodes: number;
  readonly relays: number;
  readonly lbs: number;
};

export type Verdict = {
  readonly violations: readonly Violation[];
  /** Restarts of the whole cluster that failed. */
  readonly failures: readonly string[];
  readonly faults: readonly Summary[];
  readonly published: number;
  readonly acknowledged: number;
  readonly refused: number;
  readonly deliveries: number;
  readonly gaps: number;
  /** The time from the last fault until everything had arrived. */
  readonly quietMs: number;
};

const CHANNELS_PER_CLIENT = 3;
const CLIENTS_PER_TURN = 20;
const TICK_MS = 20;
/** How often one client changes its node. */
const RECONNECT_MS = 100;
/** How long everything may take to arrive after the last fault. */
const QUIET_MS = 30_000;
/** Duplicates would have arrived by then. */
const DUPLICATES_MS = 500;
const POLL_MS = 50;

/** `say` prints progress. Throws if the cluster does not start. */
export async function runChaos(
  options: ChaosOptions,
  say: (line: string) => void,
): Promise<Verdict> {
  const cluster = new Cluster(options);
  const clients: WorkloadClient[] = [];
  try {
    await cluster.start();
    return await runWorkload(options, cluster, clients, say);
  } finally {
    await Promise.all(clients.map((client) => client.close()));
    await cluster.remove();
  }
}

async function runWorkload(
  options: ChaosOptions,
  cluster: Cluster,
  clients: WorkloadClient[],
  say: (line: string) => void,
): Promise<Verdict> {
  const { seed } = options;
  const ledger = new Ledger();
  const failures: string[] = [];
  const channels = Array.from({ length: options.channels }, (_, n) => `chaos/${n + 1}`);
  await connectAll(
    options.clients,
    `ws://${cluster.address}`,
    channels,
    ledger,
    seeded(seed + 1),
    clients,
  );
  await untilArrived(ledger);
  if (ledger.outstanding.readers > 0)
    throw new Error(`${ledger.outstanding.readers} subscriptions did not start.`);
  const startedMs = performance.now();
  say(`${clients.length} clients are connected, half of them with the SDK; the faults begin`);
  const random = seeded(seed + 2);
  const publishing = publishPaced(clients, channels, options.rate, random);
  const reconnecting = setInterval(() => pick(random, clients).reconnect?.(), RECONNECT_MS);
  const faults = new Faults(cluster, seeded(seed), {
    faultBegan: (kind, what) => {
      ledger.faultBegan({ kind, atMs: performance.now() });
      say(`${((performance.now() - startedMs) / 1000).toFixed(1).padStart(6)} s  ${what}`);
    },
    restartFailed: (sentence) => failures.push(sentence),
  });
  await faults.run(startedMs + options.seconds * 1000);
  clearInterval(publishing);
  clearInterval(reconnecting);
  say("no more faults; waiting until everything has arrived");
  const quietMs = await untilArrived(ledger);
  await Bun.sleep(DUPLICATES_MS);
  const { published, acknowledged, failed: refused, deliveries, gaps } = ledger;
  const violations = check(ledger.history);
  return {
    ...{ violations, failures, faults: ledger.pauseSummaries() },
    ...{ published, acknowledged, refused, deliveries, gaps, quietMs },
  };
}

/** Connects the clients in groups, and alternates between SDK and plain clients. */
async function connectAll(
  count: number,
  url: string,
  channels: readonly string[],
  ledger: Ledger,
  random: Random,
  clients: WorkloadClient[],
): Promise<void> {
  for (let n = 1; n <= count; n++) {
    const first = below(random, channels.length);
    const wanted = Math.min(CHANNELS_PER_CLIENT, channels.length);
    const reads = Array.from({ length: wanted }, (_, k) => channels[(first + k) % channels.length]);
    clients.push(
      n % 2 === 0
        ? new SdkClient(`sdk-${n}`, url, reads, ledger)
        : new PlainClient(`plain-${n}`, url, reads, ledger, random),
    );
    if (n % CLIENTS_PER_TURN === 0) await Bun.sleep(TICK_MS);
  }
}

/** Publishes at a steady rate; the seed determines the clients and channels. */
function publishPaced(
  clients: readonly WorkloadClient[],
  channels: readonly string[],
  rate: number,
  random: Random,
): ReturnType<typeof setInterval> {
  const startedMs = performance.now();
  let published = 0;
  return setInterval(() => {
    // After a stall of this process, do not catch up: that would be a flood.
    const due = Math.floor(((performance.now() - startedMs) * rate) / 1000);
    published = Math.max(published, due - rate);
    for (; published < due; published++) pick(random, clients).publish(pick(random, channels));
  }, TICK_MS);
}

/**
 * Waits until every publication is answered and every reader has received everything, at most
 * QUIET_MS. Resolves to the time it took.
 */
async function untilArrived(ledger: Ledger): Promise<number> {
  const startedMs = performance.now();
  const isMissing = () => ledger.outstanding.answers + ledger.outstanding.readers > 0;
  while (isMissing() && performance.now() - startedMs < QUIET_MS) await Bun.sleep(POLL_MS);
  return Math.round(performance.now() - startedMs);
}
