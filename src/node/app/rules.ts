// The app's options, checked together at start and made ready for use: which rule a channel falls
// under. Pure.

import { clientMessage } from "../../wire/client-messages.ts";
import type { Policy } from "../../wire/relay-messages.ts";
import type { AppOptions, ChannelOptions } from "./index.ts";
import { limitsOf, type NodeLimits } from "./limits.ts";
import { compilePattern, matchPattern, type Params, type Pattern } from "./patterns.ts";
import { policyOf } from "./policy.ts";

export type Rule = {
  readonly options: ChannelOptions<Params>;
  readonly policy: Policy;
  readonly presence: boolean;
  readonly batchMs: number;
};

/**
 * How long a publication may wait for a batch, where the app does not say: a channel with 20
 * publications per second never waits.
 */
const BATCH_MS = 40;
const BATCH_MS_MAX = 10_000;

/** The rule that a channel falls under, and what its pattern's placeholders hold. */
export type Route = { readonly rule: Rule; readonly params: Params };

export const DEFAULT_ROUTE: Route = {
  rule: {
    options: {},
    policy: policyOf(undefined, "every channel"),
    presence: false,
    batchMs: BATCH_MS,
  },
  params: {},
};

export class Rules {
  readonly limits: NodeLimits;
  readonly #rules: readonly (Rule & { readonly pattern: Pattern })[] | undefined;

  /** Throws an Error with a sentence for the app's author. */
  constructor(options: AppOptions<string>) {
    this.limits = limitsOf(options.limits);
    if (options.auth === "token" && options.connect === undefined)
      throw new Error('auth is "token", but there is no connect that takes one.');
    for (const name of Object.keys(options.methods ?? {})) checkMethodName(name);
    const channels = options.channels && Object.entries(options.channels);
    this.#rules = channels?.map(([pattern, channel]) => ({
      pattern: compilePattern(pattern),
      options: channel,
      policy: policyOf(channel.history, pattern),
      presence: channel.presence ?? false,
      batchMs: batchMsOf(channel.batchMs, pattern),
    }));
  }

  /** The rule of a channel; undefined when the app has patterns and none matches. */
  routeOf(channel: string): Route | undefined {
    if (this.#rules === undefined) return DEFAULT_ROUTE;
    for (const rule of this.#rules) {
      const params = matchPattern(rule.pattern, channel);
      if (params !== undefined) return { rule, params };
    }
    return undefined;
  }
}

function batchMsOf(batchMs: number | undefined, where: string): number {
  if (batchMs === undefined) return BATCH_MS;
  if (Number.isSafeInteger(batchMs) && batchMs >= 0 && batchMs <= BATCH_MS_MAX) return batchMs;
  throw new Error(
    `batchMs of "${where}" is ${batchMs}: it must be a whole number from 0 to ${BATCH_MS_MAX}.`,
  );
}

function checkMethodName(name: string): void {
  let isFree = false;
  try {
    isFree = clientMessage({ type: name }).type === "call";
  } catch {
    // A message type of the protocol without its fields, or a name that is too long.
  }
  if (!isFree)
    throw new Error(
      `A method cannot be called "${name}": the protocol uses that word, or it is too long.`,
    );
}
