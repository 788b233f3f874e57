// One run from its beginning to the verdict: a cluster, its clients, the faults, a time of
// quiet, and the checker.

import { below, pick, type Random, seeded } from "../runtime/random.ts";
import { check } from "./checker.ts";
import type { ChaosClient } from "./client.ts";
import { Cluster } from "./cluster.ts";
import { Faults } from "./faults.ts";
import type { Violation } from "./history.ts";
import { Ledger } from "./ledger.ts";
import { Pauses, type Summary } from "./pauses.ts";
import { PlainClient } from "./plain-client.ts";
import { SdkClient } from "./sdk-client.ts";

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
  /** The cluster did not start, or did not come back. */
  readonly failures: readonly string[];
  readonly faults: readonly Summary[];
  readonly published: number;
  readonly acknowledged: number;
  readonly refused: number;
  readonly deliveries: number;
  readonly gaps: number;
  /** How long it took, after the last fault, until everything had arrived. */
  readonly quietMs: number;
};

/** Channels that each client reads. */
const READS = 3;
const CLIENTS_A_TURN = 20;
const TICK_MS = 20;
/** How often some client changes its node. */
const RECONNECT_MS = 100;
/** How long everything may take to arrive when nothing goes wrong any more. */
const QUIET_MS = 30_000;
/** What would come twice has come by then. */
const ECHO_MS = 500;
const POLL_MS = 50;

/**
 * `say`: what is going on, for whoever watches. Throws where the cluster cannot be started at all.
 */
export async function runChaos(
  options: ChaosOptions,
  say: (line: string) => void,
): Promise<Verdict> {
  const cluster = new Cluster(options);
  const clients: ChaosClient[] = [];
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
  clients: ChaosClient[],
  say: (line: string) => void,
): Promise<Verdict> {
  const { seed } = options;
  const pauses = new Pauses();
  const ledger = new Ledger(pauses);
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
  await arrived(ledger);
  if (ledger.missing.readers > 0)
    throw new Error(`${ledger.missing.readers} subscriptions did not come up.`);
  const startedMs = performance.now();
  say(`${clients.length} clients are connected, half of them by the SDK; the faults begin`);
  const random = seeded(seed + 2);
  const publishing = publishPaced(clients, channels, options.rate, random);
  const reconnecting = setInterval(() => pick(random, clients).reconnect?.(), RECONNECT_MS);
  const faults = new Faults(cluster, seeded(seed), {
    began: (kind, what) => {
      pauses.fault({ kind, atMs: performance.now() });
      say(`${((performance.now() - startedMs) / 1000).toFixed(1).padStart(6)} s  ${what}`);
    },
    failed: (sentence) => failures.push(sentence),
  });
  await faults.run(startedMs + options.seconds * 1000);
  clearInterval(publishing);
  clearInterval(reconnecting);
  say("quiet now: everything has to arrive");
  const quietMs = await arrived(ledger);
  await Bun.sleep(ECHO_MS);
  const { published, acknowledged, failed: refused, deliveries, gaps } = ledger;
  const violations = check(ledger.history);
  return {
    ...{ violations, failures, faults: pauses.summaries() },
    ...{ published, acknowledged, refused, deliveries, gaps, quietMs },
  };
}

/** Clients come in turns, as they would. */
async function connectAll(
  count: number,
  url: string,
  channels: readonly string[],
  ledger: Ledger,
  random: Random,
  clients: ChaosClient[],
): Promise<void> {
  for (let n = 1; n <= count; n++) {
    const first = below(random, channels.length);
    const wanted = Math.min(READS, channels.length);
    const reads = Array.from({ length: wanted }, (_, k) => channels[(first + k) % channels.length]);
    clients.push(
      n % 2 === 0
        ? new SdkClient(`sdk-${n}`, url, reads, ledger)
        : new PlainClient(`plain-${n}`, url, reads, ledger, random),
    );
    if (n % CLIENTS_A_TURN === 0) await Bun.sleep(TICK_MS);
  }
}

/** Publishes at a steady rate, from clients and to channels that the seed decides. */
function publishPaced(
  clients: readonly ChaosClient[],
  channels: readonly string[],
  rate: number,
  random: Random,
): ReturnType<typeof setInterval> {
  const startedMs = performance.now();
  let published = 0;
  return setInterval(() => {
    // After a stall of our own we do not catch up: that would be a flood.
    const due = Math.floor(((performance.now() - startedMs) * rate) / 1000);
    published = Math.max(published, due - rate);
    for (; published < due; published++) pick(random, clients).publish(pick(random, channels));
  }, TICK_MS);
}

/**
 * Resolves when every publication is answered and every reader has all there is, or the time is
 * over; to how long that took.
 */
async function arrived(ledger: Ledger): Promise<number> {
  const startedMs = performance.now();
  const isMissing = () => ledger.missing.answers + ledger.missing.readers > 0;
  while (isMissing() && performance.now() - startedMs < QUIET_MS) await Bun.sleep(POLL_MS);
  return Math.round(performance.now() - startedMs);
}
