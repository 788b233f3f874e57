// The parameters of one run, decided by its seed: the size of the cluster, its history, faults and
// load.

import { type AppOptions, NotPublished } from "../../src/node/app/index.ts";
import { below, between, pick, type Random, weighted } from "../../src/runtime/random.ts";

export type Profile = {
  readonly relays: number;
  readonly nodes: number;
  readonly lbs: number;
  readonly clients: number;
  /** Channels that are in use from the beginning. */
  readonly channels: readonly string[];
  /** Published with each value. */
  readonly padding: string;
  readonly history: "long" | "short" | "fleeting";
  /** Whether the power may fail, which loses the last writes. */
  readonly losesPower: boolean;
  /** Whether the app has an asynchronous publish hook, which refuses some for now. */
  readonly hasHook: boolean;
  /** How long there are work and faults, ms. */
  readonly troubleMs: number;
  /** The longest time between two steps of a client, and between two faults, ms. */
  readonly workEveryMs: number;
  readonly faultEveryMs: number;
};

const PADDINGS = { none: 14, some: 4, much: 2 } as const;
const CHARACTERS = { none: 0, some: 200, much: 9000 } as const;

export function profileOf(random: Random): Profile {
  return {
    relays: random() < 0.3 ? 2 : 1,
    nodes: 2 + below(random, 2),
    lbs: 1 + below(random, 2),
    clients: 3 + below(random, 3),
    channels: ["a", "b", "c", "d"].slice(0, 1 + below(random, 4)),
    padding: "x".repeat(CHARACTERS[weighted(random, PADDINGS)]),
    history: weighted(random, { long: 6, short: 3, fleeting: 1 }),
    losesPower: random() < 0.15,
    hasHook: random() < 0.2,
    troubleMs: between(random, 2000, 5000),
    workEveryMs: pick(random, [100, 200, 400]),
    faultEveryMs: pick(random, [400, 800, 2000]),
  };
}

const HISTORIES = {
  long: { size: 100_000, bytes: 512 * 1024 * 1024 },
  short: { size: 3 },
  fleeting: { ttl: "1s" },
} as const;

/** Whether history is never trimmed or lost: then no gap may occur. */
export const isWithinHistory = ({ history, losesPower }: Profile): boolean =>
  history === "long" && !losesPower;

/** `later`: runs its callback after some time. */
export function appOf(
  { history, hasHook, padding }: Profile,
  later: (run: () => void) => void,
): AppOptions<string> {
  let calls = 0;
  const publish = (_: unknown, data: unknown) =>
    new Promise<unknown>((resolve, reject) => {
      const isBusy = ++calls % 40 === 0;
      later(() => (isBusy ? reject(new NotPublished("busy", "not now")) : resolve(data)));
    });
  return {
    channels: { "{name}": { history: HISTORIES[history], ...(hasHook ? { publish } : {}) } },
    limits: {
      requestsPerSecond: 1000,
      bufferedBytes: Math.max(64 * 1024, 8 * padding.length),
      frameBytes: Math.max(64 * 1024, 2 * padding.length),
    },
  };
}
