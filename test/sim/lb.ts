// A simulated lb process: UpstreamSync and the pool are the real ones; a tunnel is one cable, whose
// life ends with it.

import type { CheckOutcome } from "../../src/lb/upstreams/health.ts";
import { Pool, type PoolNode } from "../../src/lb/upstreams/pool.ts";
import { type UpstreamReport, UpstreamSync } from "../../src/lb/upstreams/upstream-sync.ts";
import { Cable, type End, type Network } from "./cable.ts";
import { SimLink } from "./link.ts";
import { type SimNode, UPGRADE } from "./node.ts";
import { Process } from "./process.ts";
import type { SimRelay } from "./relay.ts";

const CHECK_MS = 1000;
const EXPIRE_MS = 500;
const SWEEP_MS = 100;
const TRIES = 3;

type Tunnel = { readonly cable: Cable<string>; readonly node: PoolNode };

export class SimLb {
  readonly process: Process;
  readonly pool = new Pool({ rampMs: 10_000, nodeConnectionsMax: 0 });
  readonly #network: Network;
  readonly #nodeNamed: (id: string) => SimNode | undefined;
  readonly #sync: UpstreamSync;
  readonly links: readonly SimLink[];
  #tunnels: Tunnel[] = [];

  constructor(
    name: string,
    network: Network,
    relays: readonly SimRelay[],
    nodeNamed: (id: string) => SimNode | undefined,
  ) {
    this.#network = network;
    this.#nodeNamed = nodeNamed;
    this.process = new Process(name, network.clock);
    this.#sync = this.#makeSync(name);
    this.links = relays.map((relay) => this.#link(relay));
    this.process.every(EXPIRE_MS, () => this.#sync.expireMembers());
    this.process.every(SWEEP_MS, () => this.#sweep());
  }

  /** A client has connected to this lb; `end` hears what becomes of it. */
  connect(end: End<string>, dialed: (cable: Cable<string>) => void): void {
    this.process.run(() => this.#try(end, dialed, undefined, 1));
  }

  kill(): void {
    this.process.kill();
    for (const { cable } of this.#tunnels) cable.cut();
    for (const link of this.links) link.cable?.died(0);
  }

  /** Stopped, it moves no bytes. */
  stop(forMs: number): void {
    this.process.stop();
    for (const { cable } of this.#tunnels)
      for (const side of [0, 1] as const) cable.stall(side, forMs);
  }

  #try(
    end: End<string>,
    dialed: (cable: Cable<string>) => void,
    avoid: PoolNode | undefined,
    attempt: number,
  ): void {
    const { clock } = this.#network;
    const node = this.pool.choose(clock.now, avoid);
    const fail = () =>
      clock.after(this.#network.delayMs(), () => end.process.run(() => end.closed(1006)));
    if (typeof node === "string") return fail();
    const target = this.#nodeNamed(node.id);
    if (target?.process.isAlive !== true) {
      this.#sync.nodeRefused(node);
      if (attempt === TRIES) return fail();
      this.process.after(this.#network.delayMs(), () => this.#try(end, dialed, node, attempt + 1));
      return;
    }
    this.pool.acquire(node);
    const cable: Cable<string> = new Cable<string>(this.#network, [
      end,
      target.accept(() => cable),
    ]);
    this.#tunnels.push({ cable, node });
    dialed(cable);
    cable.send(0, UPGRADE);
  }

  #link(relay: SimRelay): SimLink {
    const link: SimLink = new SimLink(this.#network, this.process, relay, "lb", {
      welcome: ({ uptimeMs }) => {
        link.sendMessage({ type: "watch" });
        this.#sync.relayLinked(relay.id, uptimeMs);
      },
      publication: () => {},
      message: (message) => this.#sync.relayMessage(relay.id, message),
      invalidMessage: ({ reason }) => {
        throw new Error(reason);
      },
      lost: () => this.#sync.relayLost(relay.id),
    });
    return link;
  }

  #makeSync(id: string): UpstreamSync {
    const { clock } = this.#network;
    return new UpstreamSync(
      {
        ...{ id, pool: this.pool, rise: 2, fall: 1, checkIntervalMs: CHECK_MS },
        checksProveAcceptance: true,
        cookieOf: (node) => node,
        connections: () => this.#tunnels.length,
      },
      {
        now: () => clock.now,
        time: () => clock.now,
        random: () => 0.5,
        after: (ms, work) => this.#after(ms, work),
        check: (node, done) => this.#after(0, () => done(...this.#probe(node))),
        report: (report) => this.#report(report),
        healthChanged: (node) => {
          if (node.health === "up") this.pool.nodeBecameAvailable(node, clock.now);
        },
        nodeAnswered: () => {},
        poolChanged: () => {},
        happened: () => {},
      },
    );
  }

  #after(ms: number, work: () => void): () => void {
    let isCancelled = false;
    this.process.after(ms, () => {
      if (!isCancelled) work();
    });
    return () => {
      isCancelled = true;
    };
  }

  #probe({ id }: PoolNode): [CheckOutcome, string] {
    const target = this.#nodeNamed(id);
    if (target?.process.isRunning !== true) return ["unreachable", "no answer"];
    return target.isHealthy ? ["well", "answers 200"] : ["unwell", "answers 503"];
  }

  #sweep(): void {
    const [held, over]: [Tunnel[], Tunnel[]] = [[], []];
    for (const tunnel of this.#tunnels) (tunnel.cable.isOpen ? held : over).push(tunnel);
    this.#tunnels = held;
    for (const { node } of over) this.pool.release(node);
    this.#sync.reportCounts(false);
  }

  #report({ connections, counts }: UpstreamReport): void {
    const address = this.process.name;
    for (const link of this.links)
      link.sendMessage({ type: "register", address, state: "up", connections, counts });
  }
}
