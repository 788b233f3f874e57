// A simulated cluster with its clients and its supervisor, in virtual time. All randomness comes
// from one seed.

import type { History } from "../../src/chaos/history.ts";
import { between, pick, type Random } from "../../src/runtime/random.ts";
import { Network } from "./cable.ts";
import { SimClient } from "./client.ts";
import { Clock } from "./clock.ts";
import { SimLb } from "./lb.ts";
import { SimNode } from "./node.ts";
import { appOf, isWithinHistory, type Profile } from "./profile.ts";
import { type RelayHooks, SimRelay } from "./relay.ts";

const HOOK_MS = 20;
const RESTART_MS = 400;

export class World {
  readonly clock = new Clock();
  readonly random: Random;
  readonly network: Network;
  readonly profile: Profile;
  readonly relays: readonly SimRelay[];
  readonly nodes: SimNode[];
  readonly lbs: SimLb[];
  readonly clients: SimClient[] = [];
  /** Each ends one client's absence from a channel. */
  readonly absences = new Set<() => void>();
  /** Channels in use; more are opened during the run. */
  readonly channels: string[];
  /** Clients that have died; their history still counts. */
  readonly #departed: SimClient[] = [];
  #clientCount = 0;

  constructor(profile: Profile, random: Random, hooks: RelayHooks = {}) {
    const { clock } = this;
    const names = (role: string, count: number) =>
      Array.from({ length: count }, (_, index) => `${role}-${index + 1}`);
    this.profile = profile;
    this.channels = [...profile.channels];
    this.random = random;
    this.network = new Network(clock, random);
    const onTornWrite = () => this.superviseSoon();
    this.relays = names("relay", profile.relays).map(
      (id) => new SimRelay(id, this.network, random, hooks, onTornWrite),
    );
    this.nodes = names("node", profile.nodes).map((name) => this.#createNode(name));
    this.lbs = names("lb", profile.lbs).map((name) => this.#createLb(name));
    for (let n = 0; n < profile.clients; n++) this.addClient();
  }

  get processes(): readonly (SimRelay | SimNode | SimLb)[] {
    return [...this.relays, ...this.nodes, ...this.lbs];
  }

  get history(): History {
    const clients = [...this.#departed, ...this.clients];
    return {
      publications: clients.flatMap(({ publications }) => publications),
      readings: clients.flatMap(({ readings }) => readings),
      isWithinHistory: isWithinHistory(this.profile),
      hasLostPower: this.profile.losesPower,
    };
  }

  /** Why the world is not at rest; undefined: it is. */
  get unrest(): string | undefined {
    for (const client of this.clients) {
      if (!client.isConnected) return `${client.name} is not connected`;
      if (client.pending > 0)
        return `${client.name} has ${client.pending} publications without an answer`;
      for (const channel of client.channels) {
        const at = client.positionOf(channel);
        const there = this.relays
          .map(({ store }) => store?.channels.get(channel))
          .find((found) => found !== undefined);
        if (there === undefined || at?.epoch !== there.epoch || at.offset !== there.top)
          return `${client.name} stands at ${at?.epoch}:${at?.offset} of ${channel}, not at ${there?.epoch}:${there?.top}`;
      }
    }
    // Publications of dead clients too: they may arrive after everything was checked.
    for (const { process, uplinks } of this.nodes)
      if (uplinks.some(({ unacknowledged }) => unacknowledged > 0))
        return `${process.name} has publications without an answer`;
    return undefined;
  }

  addClient(): SimClient {
    const client = new SimClient(
      `client-${++this.#clientCount}`,
      this.network,
      (end, dialed) =>
        this.clock.after(this.network.delayMs(), () => {
          // The kernel picks one of the listening lbs; without any the connection is refused.
          const listening = this.lbs.filter(({ process }) => process.isAlive);
          if (listening.length > 0) pick(this.random, listening).connect(end, dialed);
          else
            this.clock.after(this.network.delayMs(), () => end.process.run(() => end.closed(1006)));
        }),
      this.profile.padding,
    );
    this.clients.push(client);
    for (const channel of this.channels) if (this.random() < 0.7) client.subscribe(channel);
    return client;
  }

  killClient(client: SimClient): void {
    client.kill();
    this.clients.splice(this.clients.indexOf(client), 1);
    this.#departed.push(client);
  }

  /** The process dies; the supervisor starts another. */
  kill(victim: SimRelay | SimNode | SimLb): void {
    if (!victim.process.isAlive) return;
    this.network.note(() => `kill ${victim.process.name}`);
    victim.kill();
    this.superviseSoon();
  }

  /** Restarts dead processes a little later. */
  superviseSoon(): void {
    this.clock.after(between(this.random, 20, RESTART_MS), () => this.#supervise());
  }

  #supervise(): void {
    for (const relay of this.relays)
      if (!relay.process.isAlive && !relay.start()) this.superviseSoon();
    for (const [index, node] of this.nodes.entries())
      if (!node.process.isAlive) this.nodes[index] = this.#createNode(node.process.name);
    for (const [index, lb] of this.lbs.entries())
      if (!lb.process.isAlive) this.lbs[index] = this.#createLb(lb.process.name);
  }

  #createNode(name: string): SimNode {
    const app = appOf(this.profile, (run) => this.clock.after(this.random() * HOOK_MS, run));
    return new SimNode(name, this.network, this.random, this.relays, app);
  }

  #createLb(name: string): SimLb {
    const nodeNamed = (id: string) => this.nodes.find((node) => node.process.name === id);
    return new SimLb(name, this.network, this.relays, nodeNamed);
  }
}
