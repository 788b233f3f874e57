// What is done to the cluster, in an order that a seed decides: processes are killed, alone and two
// in a row, or stopped for a while, and now and then all of it ends and starts again on the same
// data folder.

import { below, between, pick, type Random } from "../runtime/random.ts";
import type { Cluster, ClusterProcess, Role } from "./cluster.ts";

/** Every kind comes once or more in each round, so that a short run has most of them. */
const ROUND = [
  ...[
    "kill relay",
    "kill node",
    "kill lb",
    "stop a process",
    "kill relay",
    "kill node",
    "kill two",
  ],
  ...["restart the cluster"],
] as const;
type Kind = (typeof ROUND)[number];

const BETWEEN_MS = [900, 3000] as const;
const STOPPED_MS = [100, 3000] as const;
/** The second of two kills comes this soon; it may meet a process that is just coming back. */
const SECOND_MS = [0, 400] as const;
/**
 * A supervisor gives up a process that dies more often than 5 times in 10 s: here that would be our
 * doing.
 */
const KILLS_MAX = 3;
const KILLS_WINDOW_MS = 11_000;

type Target = ClusterProcess & { readonly pid: number };

export type FaultEvents = {
  /** It is about to be made. */
  began(kind: string, what: string): void;
  /** What had to follow has failed: the cluster did not come back. */
  failed(sentence: string): void;
};

export class Faults {
  readonly #cluster: Cluster;
  readonly #random: Random;
  readonly #events: FaultEvents;
  #round: Kind[] = [];
  readonly #kills: { readonly id: string; readonly atMs: number }[] = [];

  constructor(cluster: Cluster, random: Random, events: FaultEvents) {
    this.#cluster = cluster;
    this.#random = random;
    this.#events = events;
  }

  /** Makes faults until then; when it resolves, the cluster is left alone and on its way back. */
  async run(untilMs: number): Promise<void> {
    for (;;) {
      const pauseMs = between(this.#random, ...BETWEEN_MS);
      if (performance.now() + pauseMs >= untilMs) return;
      await Bun.sleep(pauseMs);
      await this.#make(this.#nextKind());
    }
  }

  /** The rounds are shuffled, each on its own. */
  #nextKind(): Kind {
    if (this.#round.length === 0) this.#round = [...ROUND];
    return this.#round.splice(below(this.#random, this.#round.length), 1)[0];
  }

  async #make(kind: Kind): Promise<void> {
    switch (kind) {
      case "kill relay":
        return this.#kill(kind, await this.#target("relay"));
      case "kill node":
        return this.#kill(kind, await this.#target("node"));
      case "kill lb":
        return this.#kill(kind, await this.#target("lb"));
      case "kill two": {
        this.#kill(kind, await this.#target());
        await Bun.sleep(between(this.#random, ...SECOND_MS));
        return this.#kill(kind, await this.#target());
      }
      case "stop a process":
        return this.#stop(kind, await this.#target());
      case "restart the cluster":
        return this.#restart(kind);
      default:
        return kind satisfies never;
    }
  }

  /** Some process that runs; undefined: none that may be harmed now. */
  async #target(role?: Role): Promise<Target | undefined> {
    const nowMs = performance.now();
    const killsOf = (id: string) =>
      this.#kills.filter((kill) => kill.id === id && nowMs - kill.atMs < KILLS_WINDOW_MS);
    const processes = await this.#cluster.processes();
    const suitable = processes.filter(
      (process) =>
        (role === undefined || process.role === role) && killsOf(process.id).length < KILLS_MAX,
    );
    return suitable.length === 0 ? undefined : pick(this.#random, suitable);
  }

  #kill(kind: Kind, target: Target | undefined): void {
    if (target === undefined) return;
    this.#events.began(kind, `SIGKILL ${target.id}`);
    this.#kills.push({ id: target.id, atMs: performance.now() });
    signal(target, "SIGKILL");
  }

  async #stop(kind: Kind, target: Target | undefined): Promise<void> {
    if (target === undefined) return;
    const forMs = between(this.#random, ...STOPPED_MS);
    this.#events.began(kind, `SIGSTOP ${target.id} for ${Math.round(forMs)} ms`);
    signal(target, "SIGSTOP");
    await Bun.sleep(forMs);
    signal(target, "SIGCONT");
  }

  async #restart(kind: Kind): Promise<void> {
    const how = this.#random() < 0.5 ? "SIGKILL" : "SIGTERM";
    this.#events.began(kind, `${how} of the whole cluster, then a start on the same data folder`);
    await this.#cluster.stop(how);
    try {
      await this.#cluster.start();
    } catch (error) {
      this.#events.failed(error instanceof Error ? error.message : String(error));
    }
  }
}

function signal({ pid }: Target, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has died meanwhile.
  }
}
