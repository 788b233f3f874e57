// Injects faults into the cluster in an order that a seed determines: kills one process, or two in
// a row, stops one for a while, or restarts the whole cluster on the same data folder.

import { below, between, pick, type Random } from "../runtime/random.ts";
import type { Cluster, ClusterProcess, Role } from "./cluster.ts";

/** Each round contains every kind at least once, so that a short run has most of them. */
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
/** The delay before the second of two kills; it may hit a process that is just restarting. */
const SECOND_MS = [0, 400] as const;
/** Below the exits in 10 s that are a crash loop, in which restarts are delayed. */
const KILLS_MAX = 3;
const KILLS_WINDOW_MS = 11_000;

type Target = ClusterProcess & { readonly pid: number };

export type FaultEvents = {
  /** Called just before the fault is injected. */
  faultBegan(kind: string, what: string): void;
  /** The cluster did not start again. */
  restartFailed(sentence: string): void;
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

  /** Injects faults until `untilMs`. Processes may still be restarting when it resolves. */
  async run(untilMs: number): Promise<void> {
    for (;;) {
      const pauseMs = between(this.#random, ...BETWEEN_MS);
      if (performance.now() + pauseMs >= untilMs) return;
      await Bun.sleep(pauseMs);
      await this.#inject(this.#nextKind());
    }
  }

  /** Each round is shuffled separately. */
  #nextKind(): Kind {
    if (this.#round.length === 0) this.#round = [...ROUND];
    return this.#round.splice(below(this.#random, this.#round.length), 1)[0];
  }

  async #inject(kind: Kind): Promise<void> {
    switch (kind) {
      case "kill relay":
        return this.#killProcess(kind, await this.#pickTarget("relay"));
      case "kill node":
        return this.#killProcess(kind, await this.#pickTarget("node"));
      case "kill lb":
        return this.#killProcess(kind, await this.#pickTarget("lb"));
      case "kill two": {
        this.#killProcess(kind, await this.#pickTarget());
        await Bun.sleep(between(this.#random, ...SECOND_MS));
        return this.#killProcess(kind, await this.#pickTarget());
      }
      case "stop a process":
        return this.#stopProcess(kind, await this.#pickTarget());
      case "restart the cluster":
        return this.#restartCluster(kind);
      default:
        return kind satisfies never;
    }
  }

  /** A random running process; undefined if none may be killed now. */
  async #pickTarget(role?: Role): Promise<Target | undefined> {
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

  #killProcess(kind: Kind, target: Target | undefined): void {
    if (target === undefined) return;
    this.#events.faultBegan(kind, `SIGKILL ${target.id}`);
    this.#kills.push({ id: target.id, atMs: performance.now() });
    signal(target, "SIGKILL");
  }

  async #stopProcess(kind: Kind, target: Target | undefined): Promise<void> {
    if (target === undefined) return;
    const forMs = between(this.#random, ...STOPPED_MS);
    this.#events.faultBegan(kind, `SIGSTOP ${target.id} for ${Math.round(forMs)} ms`);
    signal(target, "SIGSTOP");
    await Bun.sleep(forMs);
    signal(target, "SIGCONT");
  }

  async #restartCluster(kind: Kind): Promise<void> {
    const how = this.#random() < 0.5 ? "SIGKILL" : "SIGTERM";
    this.#events.faultBegan(
      kind,
      `${how} of the whole cluster, then a start on the same data folder`,
    );
    await this.#cluster.stop(how);
    try {
      await this.#cluster.start();
    } catch (error) {
      this.#events.restartFailed(error instanceof Error ? error.message : String(error));
    }
  }
}

function signal({ pid }: Target, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It has already ended.
  }
}
