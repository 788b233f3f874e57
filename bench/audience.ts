// Subscribers and publishers of one stack, each kind in its own process, and the cost to the stack
// of serving them.

import { type Figures, Stopwatch } from "./measure.ts";
import { Load } from "./processes.ts";
import type { Stack } from "./stacks.ts";

const PUBLISHERS = 8;
const SETTLE_MS = 3000;

export type Traffic = {
  /** Publications per second, in total. */
  readonly rate: number;
  readonly seconds: number;
  readonly bytes: number;
  /** Uses channels `first` up to `first + channels`. */
  readonly channels: number;
  readonly first: number;
  /** Subscribers of a channel, on average. */
  readonly audience: number;
};

export class Audience {
  readonly name: string;
  readonly stack: Stack;
  readonly #subscribers = new Load("clients.ts");
  readonly #publishers = new Load("clients.ts");

  private constructor(stack: Stack) {
    this.name = stack.name;
    this.stack = stack;
  }

  static async of(stack: Stack): Promise<Audience> {
    const audience = new Audience(stack);
    await audience.#connect(audience.#publishers, PUBLISHERS);
    return audience;
  }

  static all(stacks: readonly Stack[]): Promise<Audience[]> {
    return Promise.all(stacks.map((stack) => Audience.of(stack)));
  }

  /** Opens `connections` connections, all subscribed to channel 0; closes the previous ones. */
  async gather(connections: number): Promise<void> {
    await this.connect(0);
    await this.connect(connections);
    await this.#subscribers.ask({ kind: "subscribeAll" });
  }

  /** Opens or closes connections until there are `connections`; adds no subscriptions. */
  connect(connections: number): Promise<void> {
    return this.#connect(this.#subscribers, connections);
  }

  /**
   * Spreads channels over the connections, each with 1 to `most` subscribers. Resolves to the
   * number of subscriptions.
   */
  async spread(channels: number, first: number, most: number): Promise<number> {
    const { subscriptions } = await this.#subscribers.ask({
      kind: "subscribeFew",
      channels,
      first,
      most,
    });
    return subscriptions;
  }

  /** Publishes for `seconds`, then waits until all has arrived, at most SETTLE_MS. */
  async play(traffic: Traffic): Promise<Figures> {
    await this.#subscribers.ask({ kind: "listen" });
    const watch = new Stopwatch(this.stack.pids);
    const loads = [this.#subscribers, this.#publishers].map(({ pid }) => new Stopwatch([pid]));
    const { published } = await this.#publishers.ask({ kind: "publish", ...traffic });
    const expected = Math.round(published * traffic.audience);
    const deliveries = Math.floor(expected * 0.999);
    const heard = await this.#subscribers.ask({ kind: "heard", deliveries, timeoutMs: SETTLE_MS });
    const { cpuUs, cores, seconds } = watch;
    return {
      perCpuSecond: heard.deliveries / (cpuUs / 1e6),
      cpuUs: cpuUs / heard.deliveries,
      perSecond: heard.deliveries / seconds,
      p50Ms: heard.p50Ms,
      p99Ms: heard.p99Ms,
      maxMs: heard.maxMs,
      arrived: (100 * heard.deliveries) / expected,
      cores,
      loadCores: Math.max(...loads.map((load) => load.cores)),
    };
  }

  call(requests: number, bytes: number): Promise<Figures> {
    return this.#subscribers.ask({ kind: "call", requests, bytes });
  }

  /** The process that calls and subscribes. */
  get loadPid(): number {
    return this.#subscribers.pid;
  }

  async stop(): Promise<void> {
    await Promise.all([this.#subscribers.stop(), this.#publishers.stop()]);
    await this.stack.stop();
  }

  async #connect(load: Load, connections: number): Promise<void> {
    const { kind, port } = this.stack;
    await load.ask({ kind: "connect", protocol: kind, port, connections });
  }
}
