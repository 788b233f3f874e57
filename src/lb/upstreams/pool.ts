// Chooses the node for the next connection: leastconn as in HAProxy, over the counts of every lb.
// Only state and choice; no socket.

import type { Address } from "../../runtime/arguments.ts";
import { Counters, Counts } from "../telemetry/counters.ts";
import { Backlog } from "./backlog.ts";

/** `failing`: it answers its checks, but not as expected. `down`: it cannot be reached. */
export type Health = "up" | "failing" | "down";

/**
 * `closed`: it accepts no new connections, because it is starting or draining. `gone`: it left, and
 * may return.
 */
export type AdminState = "open" | "closed" | "gone";

export class PoolNode {
  readonly id: string;
  address: Address;
  /** The sticky cookie's value for this node. */
  readonly cookie: string;
  readonly backlog = new Backlog();
  /** Idle connections to the node, kept for the next request of their clients. */
  readonly idle = new Set<{ giveUp(how: "end"): void }>();
  health: Health = "up";
  adminState: AdminState = "open";
  /** Client connections that this lb has assigned to the node, queued or active. */
  connections = 0;
  /** The same for all other lbs, as last reported. */
  connectionsOnOtherLbs = 0;
  /** When it joined or returned. */
  sinceMs = 0;
  /** How long its share of the load ramps up from then on. */
  rampMs = 0;
  /** The turn in which it was last chosen. */
  lastTurn = 0;
  /** Its counts; the pool's once it is in one. */
  counts = new Counts();

  constructor(id: string, address: Address, cookie: string) {
    this.id = id;
    this.address = address;
    this.cookie = cookie;
  }
}

export type PoolOptions = {
  /** How long a node that joined or returned ramps up; 0: at once. */
  readonly rampMs: number;
  /** The maximum connections per node, over all lbs; 0: no limit. */
  readonly nodeConnectionsMax: number;
};

/** `full`: nodes are available, but each is at a limit. `none`: no node is available. */
export type Choice = PoolNode | "full" | "none";

// A ramping node gets its first connections like any other: so few do not overload it, and a small
// cluster is balanced at once.
const RAMP_FLOOR = 10;
const RAMP_SHARE_MIN = 0.01;

export class Pool {
  readonly counters = new Counters();
  readonly #options: PoolOptions;
  readonly #nodes = new Map<string, PoolNode>();
  readonly #byCookie = new Map<string, PoolNode>();
  #turn = 0;

  constructor(options: PoolOptions) {
    this.#options = options;
  }

  get nodes(): Iterable<PoolNode> {
    return this.#nodes.values();
  }

  node(id: string): PoolNode | undefined {
    return this.#nodes.get(id);
  }

  addNode(node: PoolNode): void {
    this.#nodes.set(node.id, node);
    this.#byCookie.set(node.cookie, node);
    node.counts = this.counters.of(node.id, (id) => this.#nodes.has(id));
  }

  /** The node has left; it is removed when its last connection ends. */
  removeNode(node: PoolNode): void {
    node.adminState = "gone";
    this.#forgetWhenIdle(node);
  }

  /** Assigns a connection to the node; `release` must follow once. */
  acquire(node: PoolNode): void {
    node.connections++;
  }

  release(node: PoolNode): void {
    node.connections--;
    this.#forgetWhenIdle(node);
  }

  #forgetWhenIdle(node: PoolNode): void {
    if (node.adminState !== "gone" || node.connections > 0) return;
    this.#nodes.delete(node.id);
    this.#byCookie.delete(node.cookie);
  }

  /**
   * The node is available from now on, as if it were new. It ramps up for no longer than the others
   * have been present: nodes that start together share equally at once.
   */
  nodeBecameAvailable(node: PoolNode, nowMs: number): void {
    let othersMs = 0;
    for (const other of this.#nodes.values())
      if (other !== node && this.isAvailable(other))
        othersMs = Math.max(othersMs, nowMs - other.sinceMs);
    node.sinceMs = nowMs;
    node.rampMs = Math.min(this.#options.rampMs, othersMs);
  }

  byCookie(cookie: string): PoolNode | undefined {
    return this.#byCookie.get(cookie);
  }

  /**
   * Whether the node is available, apart from its limits. If none is up, failing nodes are: a try
   * is better than a 503.
   */
  isAvailable(node: PoolNode): boolean {
    if (node.adminState !== "open" || node.health === "down") return false;
    return node.health === "up" || !this.anyUp();
  }

  /** Whether another node is available. */
  hasOther(than: PoolNode): boolean {
    for (const node of this.#nodes.values())
      if (node !== than && this.isAvailable(node)) return true;
    return false;
  }

  anyUp(): boolean {
    for (const node of this.#nodes.values())
      if (node.health === "up" && node.adminState === "open") return true;
    return false;
  }

  hasRoom(node: PoolNode): boolean {
    const max = this.#options.nodeConnectionsMax;
    return (
      node.backlog.hasRoom && (max === 0 || node.connections + node.connectionsOnOtherLbs < max)
    );
  }

  /** Ends an idle connection of a node at its limit for a waiter; false: there is none. */
  reclaim(of: PoolNode | undefined): boolean {
    for (const node of of === undefined ? this.#nodes.values() : [of]) {
      const [idle] = node.idle;
      if (idle === undefined || !node.backlog.hasRoom || !this.isAvailable(node)) continue;
      idle.giveUp("end");
      return true;
    }
    return false;
  }

  /**
   * The available node with the fewest connections, ties in turn. `avoid` is chosen only if there
   * is no other.
   */
  choose(nowMs: number, avoid?: PoolNode): Choice {
    const anyUp = this.anyUp();
    let best: PoolNode | undefined;
    let bestKey = 0;
    let isFull = false;
    let canAvoid = false;
    for (const node of this.#nodes.values()) {
      if (node.adminState !== "open" || node.health === "down" || (anyUp && node.health !== "up"))
        continue;
      if (node === avoid) canAvoid = true;
      else if (!this.hasRoom(node)) isFull = true;
      else {
        const key = this.#key(node, nowMs);
        if (
          best !== undefined &&
          (key > bestKey || (key === bestKey && node.lastTurn >= best.lastTurn))
        )
          continue;
        best = node;
        bestKey = key;
      }
    }
    if (best === undefined && !isFull && canAvoid && avoid !== undefined) {
      if (this.hasRoom(avoid)) best = avoid;
      else isFull = true;
    }
    if (best === undefined) return isFull ? "full" : "none";
    best.lastTurn = ++this.#turn;
    return best;
  }

  /**
   * A ramping node has less weight: at a tenth of its ramp, 10 connections above the floor count
   * like another node's 100.
   */
  #key(node: PoolNode, nowMs: number): number {
    const connections = node.connections + node.connectionsOnOtherLbs;
    const ageMs = nowMs - node.sinceMs;
    if (connections <= RAMP_FLOOR || ageMs >= node.rampMs) return connections;
    return RAMP_FLOOR + (connections - RAMP_FLOOR) / Math.max(RAMP_SHARE_MIN, ageMs / node.rampMs);
  }
}
