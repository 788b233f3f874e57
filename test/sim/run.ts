// One run: a time of faults, then a time without, in which everything has to come to rest within a
// bound; and the checker's verdict.

import { check } from "../../src/chaos/checker.ts";
import { seeded } from "../../src/runtime/random.ts";
import { fault, heal, work } from "./faults.ts";
import { type Profile, profileOf } from "./profile.ts";
import type { RelayHooks } from "./relay.ts";
import { World } from "./world.ts";

/** How long it may take after the last fault until every client has everything, ms. */
export const REST_WITHIN_MS = 60_000;
const LOOK_EVERY_MS = 100;
const LINES_MAX = 10;

export type Outcome = {
  readonly seed: number;
  /** Broken promises, as readable lines. */
  readonly violations: readonly string[];
  readonly virtualMs: number;
  readonly restMs: number;
  readonly publications: number;
  readonly deliveries: number;
  readonly gaps: number;
  readonly relayStarts: number;
};

export type RunOptions = {
  readonly trace?: ((line: string) => void) | undefined;
  readonly hooks?: RelayHooks | undefined;
  /** Parts of the profile that the seed does not decide. */
  readonly profile?: Partial<Profile> | undefined;
  /** Called before the run. */
  readonly prepare?: ((world: World) => void) | undefined;
};

export function run(seed: number, options: RunOptions = {}): Outcome {
  const random = seeded(seed);
  const profile = { ...profileOf(random), ...options.profile };
  const world = new World(profile, random, options.hooks);
  const { clock } = world;
  world.network.trace = options.trace;
  options.prepare?.(world);
  const startedAt = clock.now;
  const endOfTrouble = startedAt + profile.troubleMs;
  const again = (everyMs: number, happen: () => void) => {
    clock.after(random() * everyMs, () => {
      if (clock.now >= endOfTrouble) return;
      happen();
      again(everyMs, happen);
    });
  };
  again(profile.faultEveryMs, () => fault(world));
  again(profile.workEveryMs / profile.clients, () =>
    work(world, world.clients[Math.floor(random() * world.clients.length)]),
  );
  const violations: string[] = [];
  let restMs = 0;
  try {
    clock.runUntil(endOfTrouble);
    heal(world);
    // A last publication of every client to every channel.
    for (const client of world.clients)
      for (const channel of world.channels) client.publish(channel);
    for (const client of world.clients)
      for (const channel of world.channels) client.resume(channel);
    while (world.unrest !== undefined && restMs < REST_WITHIN_MS) {
      restMs += LOOK_EVERY_MS;
      clock.runUntil(endOfTrouble + restMs);
    }
    if (world.unrest !== undefined)
      violations.push(`no rest after ${REST_WITHIN_MS} ms: ${world.unrest}`);
    clock.runUntil(clock.now + 1000);
  } catch (error) {
    violations.push(`threw ${error instanceof Error ? error.stack : error}`);
  }
  const { history } = world;
  for (const relay of world.relays) relay.end();
  for (const { line } of check(history)) violations.push(line);
  for (const { value, outcome } of history.publications)
    if (outcome === "failed") violations.push(`${value} was refused for good`);
  const events = history.readings.flatMap((reading) => reading.events);
  const outcome = {
    seed,
    violations: violations.slice(0, LINES_MAX),
    virtualMs: clock.now - startedAt,
    restMs,
    publications: history.publications.length,
    deliveries: events.filter(({ type }) => type === "message").length,
    gaps: events.filter((event) => event.type === "stands" && event.gap !== undefined).length,
    relayStarts: world.relays.reduce((sum, { starts }) => sum + starts, 0),
  };
  options.trace?.(JSON.stringify(outcome));
  return outcome;
}
