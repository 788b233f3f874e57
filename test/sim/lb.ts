// A simulated lb process: the real membership, pool and health records choose the node; a tunnel is
// one cable, whose life ends with it.

import { HealthRecord } from "../../src/lb/upstreams/health.ts";
import { Membership, sumCounts } from "../../src/lb/upstreams/membership.ts";
import { Pool, PoolNode } from "../../src/lb/upstreams/pool.ts";
import { formatAddress } from "../../src/runtime/arguments.ts";
import type { RelayMessage } from "../../src/wire/relay-messages.ts";
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
  readonly #membership: Membership;
  readonly links: readonly SimLink[];
  readonly #records = new Map<string, HealthRecord>();
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
    this.#membership = new Membership(name);
    this.links = relays.map((relay) => this.#link(relay));
    this.process.every(CHECK_MS, () => this.#check());
    this.process.every(EXPIRE_MS, () => {
      this.#membership.expire(network.clock.now);
      this.#sync();
    });
    this.process.every(SWEEP_MS, () => this.#sweep());
  }

  /** A client has connected to this lb; `end` hears what becomes of it. */
  connect(end: End<string>, dialed: (cable: Cable<string>) => void): void {
    this.process.run(() => this.#try(end, dialed, undefined, 1));
  }

  get cables(): Cable<string>[] {
    return this.#tunnels.map(({ cable }) => cable);
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
      node.health = this.#record(node.id).refused();
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
        this.#membership.welcomed(relay.id, uptimeMs, this.#network.clock.now);
        link.sendMessage({ type: "watch" });
        this.#report(link);
      },
      publication: () => {},
      message: (message) => this.#told(relay.id, message),
      lost: () => {
        this.#membership.lost(relay.id);
        this.#sync();
      },
    });
    return link;
  }

  #told(relay: string, message: RelayMessage): void {
    const { now } = this.#network.clock;
    if (message.type === "registry") this.#membership.registry(relay, message.members, now);
    else if (message.type === "registered") this.#membership.registered(relay, message.member);
    else if (message.type === "departed")
      this.#membership.departed(relay, message.role, message.id);
    this.#sync();
  }

  /** Makes the pool equal to the membership, as src/lb/directory.ts does. */
  #sync(): void {
    const { pool } = this;
    const members = new Map(this.#membership.nodes().map((member) => [member.id, member]));
    for (const node of [...pool.nodes])
      if (!members.has(node.id) && node.standing !== "gone") {
        this.#records.delete(node.id);
        pool.remove(node);
      }
    for (const { id, address, state } of members.values()) {
      let node = pool.node(id);
      if (
        node === undefined ||
        node.standing === "gone" ||
        formatAddress(node.address) !== address
      ) {
        node ??= new PoolNode(id, { unix: address.slice("unix:".length) }, id);
        node.health = "up";
        this.#records.delete(id);
        pool.add(node);
        pool.came(node, this.#network.clock.now);
      }
      node.standing = state === "up" ? "open" : "closed";
    }
    const elsewhere = sumCounts(this.#membership.otherLbs());
    for (const node of pool.nodes) node.elsewhere = elsewhere.get(node.id) ?? 0;
  }

  #check(): void {
    for (const node of this.pool.nodes) {
      const target = this.#nodeNamed(node.id);
      const isThere = target?.process.isRunning === true;
      const outcome = isThere ? (target.isHealthy ? "well" : "unwell") : "unreachable";
      node.health = this.#record(node.id).checked(outcome);
    }
  }

  #record(id: string): HealthRecord {
    const record = this.#records.get(id) ?? new HealthRecord({ rise: 2, fall: 1 });
    this.#records.set(id, record);
    return record;
  }

  #sweep(): void {
    const [held, over]: [Tunnel[], Tunnel[]] = [[], []];
    for (const tunnel of this.#tunnels) (tunnel.cable.isOpen ? held : over).push(tunnel);
    this.#tunnels = held;
    for (const { node } of over) this.pool.release(node);
    if (over.length > 0) for (const link of this.links) this.#report(link);
  }

  #report(link: SimLink): void {
    const counts: Record<string, number> = {};
    for (const { id, connections } of this.pool.nodes)
      if (connections > 0) counts[id] = connections;
    const connections = this.#tunnels.length;
    link.sendMessage({
      type: "register",
      address: this.process.name,
      state: "up",
      connections,
      counts,
    });
  }
}
