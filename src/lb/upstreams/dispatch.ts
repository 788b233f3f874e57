// Assigns exchanges to nodes, at most a few per turn of the event loop, and queues those that find
// every node at a limit, in order and with a timeout.

import { type HttpFault, unavailable } from "../http/faults.ts";
import { type NextTurn, Pace } from "../net/pace.ts";
import type { Choice, Pool, PoolNode } from "./pool.ts";

/**
 * An exchange that needs a node. One of the two callbacks is called, at once or later, unless the
 * exchange withdraws.
 */
export type Waiter = {
  /** The only node it may use, while that node is available. */
  readonly stickTo: PoolNode | undefined;
  /** The node that failed it last. */
  readonly avoid: PoolNode | undefined;
  nodeAssigned(lease: Lease): void;
  dispatchRefused(fault: HttpFault): void;
};

const NO_NODE = unavailable("no node can take this request", "noNode");
/**
 * Each assignment costs a dial, an upgrade and a first exchange: for lb and node, a large part of a
 * millisecond.
 */
const ASSIGNED_PER_TURN = 8;
const QUEUE_FULL = unavailable("too many requests are waiting", "queueFull");

/** One connection's slot on a node. `release` returns it once, however the connection ends. */
export class Lease {
  readonly node: PoolNode;
  readonly #dispatcher: Dispatcher;
  #held = true;

  constructor(node: PoolNode, dispatcher: Dispatcher) {
    this.node = node;
    this.#dispatcher = dispatcher;
  }

  release(): void {
    if (!this.#held) return;
    this.#held = false;
    this.#dispatcher.released(this.node);
  }
}

export class Dispatcher {
  readonly #pool: Pool;
  readonly #queueMax: number;
  readonly #now: () => number;
  readonly #pace: Pace;
  /** Waiters that found every node at a limit. */
  readonly #queue = new Set<Waiter>();
  /**
   * Waiters that arrived after this turn had used its assignments; bounded by the number of
   * clients.
   */
  readonly #arrivals = new Set<Waiter>();
  #isServing = false;

  constructor(pool: Pool, queueMax: number, now: () => number, nextTurn: NextTurn) {
    this.#pool = pool;
    this.#queueMax = queueMax;
    this.#now = now;
    this.#pace = new Pace(ASSIGNED_PER_TURN, nextTurn, () => this.#begin());
  }

  get waiting(): number {
    return this.#queue.size + this.#arrivals.size;
  }

  dispatch(waiter: Waiter): void {
    if (this.#pace.hasRoom && this.#arrivals.size === 0) this.#enter(waiter);
    else this.#arrivals.add(waiter);
  }

  #enter(waiter: Waiter): void {
    const outcome = this.#assign(waiter);
    if (outcome === "none") waiter.dispatchRefused(NO_NODE);
    if (outcome !== "full") return;
    if (this.#queue.size >= this.#queueMax) waiter.dispatchRefused(QUEUE_FULL);
    else {
      this.#queue.add(waiter);
      this.#pool.counters.waiting(this.#queue.size);
    }
  }

  withdraw(waiter: Waiter): void {
    this.#queue.delete(waiter);
    this.#arrivals.delete(waiter);
  }

  released(node: PoolNode): void {
    this.#pool.release(node);
    this.serveQueue();
  }

  /**
   * Tries the queued waiters again, oldest first. Called when a node may have capacity, or has
   * changed.
   */
  serveQueue(): void {
    if (this.#queue.size === 0 || this.#isServing) return;
    this.#isServing = true;
    try {
      for (const waiter of this.#queue) {
        if (!this.#pace.hasRoom) break;
        const outcome = this.#assign(waiter);
        if (outcome === "none") waiter.dispatchRefused(NO_NODE);
        if (outcome !== "full") this.#queue.delete(waiter);
        else if (waiter.stickTo === undefined && waiter.avoid === undefined) break;
      }
    } finally {
      this.#isServing = false;
    }
  }

  /** A new turn begins. */
  #begin(): void {
    this.serveQueue();
    for (const waiter of this.#arrivals) {
      if (!this.#pace.hasRoom) break;
      this.#arrivals.delete(waiter);
      this.#enter(waiter);
    }
  }

  #assign(waiter: Waiter): "assigned" | "full" | "none" {
    let choice = this.#choose(waiter);
    if (choice === "full" && this.#pool.reclaim(waiter.stickTo)) choice = this.#choose(waiter);
    if (choice === "full" || choice === "none") return choice;
    this.#pace.spend();
    this.#pool.acquire(choice);
    this.#queue.delete(waiter);
    waiter.nodeAssigned(new Lease(choice, this));
    return "assigned";
  }

  #choose({ stickTo, avoid }: Waiter): Choice {
    if (stickTo === undefined || !this.#pool.isAvailable(stickTo))
      return this.#pool.choose(this.#now(), avoid);
    return this.#pool.hasRoom(stickTo) ? stickTo : "full";
  }
}
