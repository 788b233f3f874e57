// Decides about an lb's nodes: the pool follows the membership, checks are scheduled, their
// outcomes change a node's health, and the relays receive this lb's counts. Pure; time, timers,
// checks and links are ports.

import { type Address, formatAddress, parseAddress } from "../../runtime/arguments.ts";
import type { Member, RelayMessage } from "../../wire/relay-messages.ts";
import { type CheckOutcome, type HealthOptions, HealthRecord } from "./health.ts";
import { Membership, sumCounts } from "./membership.ts";
import { type Health, type Pool, PoolNode } from "./pool.ts";

/** Unaccepted dials to a node on a unix socket, over all lbs: half of Bun's backlog of 512. */
const DIALS_MAX = 256;
export const REPORT_INTERVAL_MS = 100;
export const EXPIRE_INTERVAL_MS = 500;

export type UpstreamReport = {
  readonly connections: number;
  readonly counts: Record<string, number>;
};

export type UpstreamEvent =
  | { readonly kind: "nodeLeft"; readonly node: string }
  | { readonly kind: "nodeCame"; readonly node: string; readonly address: string }
  | { readonly kind: "badAddress"; readonly node: string; readonly error: unknown };

export type UpstreamPorts = {
  /** A monotonic clock, in ms. */
  now(): number;
  /** Ms since 1970. */
  time(): number;
  /** From 0 up to, not including, 1. */
  random(): number;
  /** Calls `work` after `ms`; returns a function that cancels it. */
  after(ms: number, work: () => void): () => void;
  /**
   * Starts one check of the node, which calls `done` later, once; returns a function that cancels
   * it.
   */
  check(node: PoolNode, done: (outcome: CheckOutcome, why: string) => void): () => void;
  /** Sends to every linked relay. */
  report(report: UpstreamReport): void;
  healthChanged(node: PoolNode, before: Health, why: string): void;
  /** A check has ended, which may prove connections accepted. */
  nodeAnswered(): void;
  /** A node joined, or became available. */
  poolChanged(): void;
  happened(event: UpstreamEvent): void;
};

export type UpstreamSyncOptions = HealthOptions & {
  readonly id: string;
  readonly pool: Pool;
  readonly checkIntervalMs: number;
  /** A good check proves that the node accepted it and every earlier connection. */
  readonly checksProveAcceptance: boolean;
  /** The sticky cookie's value for a node. */
  cookieOf(node: string): string;
  /** The number of the lb's clients, for the registry. */
  connections(): number;
};

type Watch = {
  readonly record: HealthRecord;
  state: "waiting" | "checking";
  cancel: () => void;
};

export class UpstreamSync {
  readonly #options: UpstreamSyncOptions;
  readonly #ports: UpstreamPorts;
  readonly #membership: Membership;
  readonly #watches = new Map<PoolNode, Watch>();
  #reported = "";

  constructor(options: UpstreamSyncOptions, ports: UpstreamPorts) {
    this.#options = options;
    this.#ports = ports;
    this.#membership = new Membership(options.id);
  }

  /** Adds fixed upstreams to the pool; their address is their id. */
  addFixedUpstreams(addresses: readonly Address[]): void {
    for (const address of addresses) this.#admit(formatAddress(address), formatAddress(address));
  }

  /** `uptimeMs` tells whether the relay's registry is still filling. */
  relayLinked(relay: string, uptimeMs: number): void {
    this.#membership.welcomed(relay, uptimeMs, this.#ports.now());
    this.reportCounts(true);
  }

  relayLost(relay: string): void {
    this.#membership.lost(relay);
    this.#syncPool();
  }

  relayMessage(relay: string, message: RelayMessage): void {
    if (message.type === "registry")
      this.#membership.registry(relay, message.members, this.#ports.now());
    else if (message.type === "registered") this.#membership.registered(relay, message.member);
    else if (message.type === "departed")
      this.#membership.departed(relay, message.role, message.id);
    else return;
    this.#syncPool();
  }

  /** Drops members that relays had time to confirm: due every EXPIRE_INTERVAL_MS. */
  expireMembers(): void {
    this.#membership.expire(this.#ports.now());
    this.#syncPool();
  }

  /** Sends this lb's counts to the relays when they have changed: due every REPORT_INTERVAL_MS. */
  reportCounts(always: boolean): void {
    const counts: Record<string, number> = {};
    for (const node of this.#options.pool.nodes)
      if (node.connections > 0) counts[node.id] = node.connections;
    const connections = this.#options.connections();
    const report = JSON.stringify([connections, counts]);
    if (!always && report === this.#reported) return;
    this.#reported = report;
    this.#ports.report({ connections, counts });
  }

  /** A dial was refused as only a dead server refuses it. */
  nodeRefused(node: PoolNode): void {
    const watch = this.#watches.get(node);
    if (watch === undefined) return;
    node.backlog.emptied();
    this.#setHealth(node, watch.record.refused(), "refused a connection");
  }

  checkNow(node: PoolNode): void {
    const watch = this.#watches.get(node);
    if (watch === undefined || watch.state === "checking") return;
    watch.cancel();
    watch.state = "checking";
    watch.cancel = this.#ports.check(node, (outcome, why) => {
      if (this.#watches.get(node) === watch) this.#checked(node, watch, outcome, why);
    });
  }

  stopChecks(): void {
    for (const node of this.#watches.keys()) this.#unwatch(node);
  }

  #checked(node: PoolNode, watch: Watch, outcome: CheckOutcome, why: string): void {
    if (outcome === "well") node.counts.checksGood++;
    else node.counts.checksFailed++;
    watch.state = "waiting";
    const waitMs = this.#options.checkIntervalMs * (0.9 + 0.2 * this.#ports.random());
    watch.cancel = this.#ports.after(waitMs, () => this.checkNow(node));
    this.#setHealth(node, watch.record.checked(outcome), why);
    this.#ports.nodeAnswered();
  }

  #setHealth(node: PoolNode, health: Health, why: string): void {
    const before = node.health;
    node.health = health;
    if (before === health) return;
    node.counts.changedAtMs = this.#ports.time();
    this.#ports.healthChanged(node, before, why);
  }

  /** Starts to check the node; it counts as up until a check fails. */
  #watch(node: PoolNode): void {
    this.#unwatch(node);
    node.health = "up";
    node.backlog.emptied();
    const record = new HealthRecord(this.#options);
    this.#watches.set(node, { record, state: "waiting", cancel: () => {} });
    this.checkNow(node);
  }

  #unwatch(node: PoolNode): void {
    this.#watches.get(node)?.cancel();
    this.#watches.delete(node);
  }

  /** Adds the node to the pool, or resets it as if it were new. */
  #admit(id: string, addressText: string): PoolNode {
    const { pool, cookieOf, checksProveAcceptance } = this.#options;
    const address = parseAddress(addressText, "address");
    const node = pool.node(id) ?? new PoolNode(id, address, cookieOf(id));
    node.address = address;
    node.adminState = "open";
    node.backlog.max = "unix" in address && checksProveAcceptance ? DIALS_MAX : 0;
    pool.addNode(node);
    this.#watch(node);
    pool.nodeBecameAvailable(node, this.#ports.now());
    return node;
  }

  /** Makes the pool match the membership. */
  #syncPool(): void {
    const { pool } = this.#options;
    const members = new Map(this.#membership.nodes().map((member) => [member.id, member]));
    for (const node of [...pool.nodes]) {
      if (members.has(node.id) || node.adminState === "gone") continue;
      this.#ports.happened({ kind: "nodeLeft", node: node.id });
      this.#unwatch(node);
      pool.removeNode(node);
    }
    for (const member of members.values()) this.#syncMember(member);
    const others = this.#membership.otherLbs();
    const connectionsOnOtherLbs = sumCounts(others);
    for (const node of pool.nodes) {
      node.connectionsOnOtherLbs = connectionsOnOtherLbs.get(node.id) ?? 0;
      if (node.backlog.max > 0)
        node.backlog.max = Math.max(1, Math.floor(DIALS_MAX / (others.length + 1)));
    }
    this.#ports.poolChanged();
  }

  #syncMember({ id, address, state }: Member): void {
    let node = this.#options.pool.node(id);
    if (
      node?.adminState === "gone" ||
      node === undefined ||
      formatAddress(node.address) !== address
    ) {
      try {
        node = this.#admit(id, address);
      } catch (error) {
        this.#ports.happened({ kind: "badAddress", node: id, error });
        return;
      }
      this.#ports.happened({ kind: "nodeCame", node: id, address });
    }
    node.adminState = state === "up" ? "open" : "closed";
  }
}
