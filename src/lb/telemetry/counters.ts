// What an lb has counted since it started: plain integers, added to where things happen, for each
// node and for what came to no node. Pure; nothing is allocated while counting.

import { type TerminationCause, zeroByCause } from "../http/termination.ts";

/**
 * Nodes whose counts are remembered, those that have left included; of more, the oldest are counted
 * with what came to no node.
 */
const NODES_MAX = 512;

/** One node's, or those of all requests that came to no node. */
export class Counts {
  /** Exchanges that ended, and WebSockets that began. */
  requests = 0;
  tunnels = 0;
  /** To nodes and from them, as the sockets saw them. */
  bytesIn = 0;
  bytesOut = 0;
  /** Nodes' answers, by class of status: index 2 counts 2xx. */
  readonly answers = [0, 0, 0, 0, 0, 0];
  /** Answers that the lb gave in a node's place. */
  readonly refusals = [0, 0, 0, 0, 0, 0];
  /** Requests sent again, for the node went away before its answer. */
  retries = 0;
  /** Requests sent elsewhere, for the node could not be reached. */
  redispatches = 0;
  checksGood = 0;
  checksFailed = 0;
  /** When the node's health changed last, in ms since 1970; 0: it has not. */
  changedAtMs = 0;
  readonly terminations = zeroByCause();

  /** An exchange is over. `status` 0: there was no answer; `isOurs`: the lb gave it. */
  exchangeEnded(failure: TerminationCause | undefined, status: number, isOurs: boolean): void {
    this.requests++;
    if (failure !== undefined) this.terminations[failure]++;
    if (status !== 0) (isOurs ? this.refusals : this.answers)[Math.trunc(status / 100)]++;
  }

  addCounts(other: Counts): void {
    this.requests += other.requests;
    this.tunnels += other.tunnels;
    this.bytesIn += other.bytesIn;
    this.bytesOut += other.bytesOut;
    this.retries += other.retries;
    this.redispatches += other.redispatches;
    this.checksGood += other.checksGood;
    this.checksFailed += other.checksFailed;
    for (let index = 1; index < 6; index++) {
      this.answers[index] += other.answers[index];
      this.refusals[index] += other.refusals[index];
    }
    for (const kind of kinds) this.terminations[kind] += other.terminations[kind];
  }

  /** By name, as they are shown. */
  get named(): Record<string, number> {
    const {
      requests,
      tunnels,
      bytesIn,
      bytesOut,
      retries,
      redispatches,
      checksGood,
      checksFailed,
    } = this;
    const [, answers1xx, answers2xx, answers3xx, answers4xx, answers5xx] = this.answers;
    const [, , , , refusals4xx, refusals5xx] = this.refusals;
    return {
      ...{
        requests,
        tunnels,
        bytesIn,
        bytesOut,
        answers1xx,
        answers2xx,
        answers3xx,
        answers4xx,
        answers5xx,
      },
      ...{
        refusals4xx,
        refusals5xx,
        retries,
        redispatches,
        checksGood,
        checksFailed,
        ...this.terminations,
      },
    };
  }
}

const isFailure = (name: string): name is TerminationCause => Object.hasOwn(zeroByCause(), name);
const kinds = Object.keys(zeroByCause()).filter(isFailure);

/** A node, as far as counting needs it. */
export type CountedNode = { readonly id: string; readonly counts: Counts };

export class Counters {
  /** Clients that were let in, and that were not. */
  connections = 0;
  connectionsRefused = 0;
  /** Exchanges and tunnels under way. */
  exchangesNow = 0;
  tunnelsNow = 0;
  /**
   * Connections that ended before they were HTTP: for want of a PROXY header or of a TLS handshake.
   */
  arrivalsFailed = 0;
  /** The most that ever waited for a node at a time. */
  waitingMost = 0;
  healthAnswers = 0;
  cookiesNone = 0;
  cookiesInvalid = 0;
  cookiesDown = 0;
  cookiesValid = 0;
  cookiesInserted = 0;
  /** Of requests that came to no node. */
  readonly nowhere = new Counts();
  readonly #nodes = new Map<string, Counts>();

  /**
   * The counts of the node with this id, which go on when a node of that id comes back. `isKnown`:
   * nodes that are there.
   */
  of(id: string, isKnown: (id: string) => boolean): Counts {
    const known = this.#nodes.get(id);
    if (known !== undefined) return known;
    const counts = new Counts();
    this.#nodes.set(id, counts);
    if (this.#nodes.size > NODES_MAX) this.#forgetOne(isKnown);
    return counts;
  }

  /**
   * Counts what sticky cookie a request brought; returns its letter. `named`: the node it names;
   * `usable`: that node, if it may be used.
   */
  cookie(value: string | undefined, named: unknown, usable: unknown): "N" | "I" | "D" | "V" {
    if (value === undefined) {
      this.cookiesNone++;
      return "N";
    }
    if (named === undefined) {
      this.cookiesInvalid++;
      return "I";
    }
    if (usable === undefined) {
      this.cookiesDown++;
      return "D";
    }
    this.cookiesValid++;
    return "V";
  }

  /** So many wait now. */
  waiting(count: number): void {
    if (count > this.waitingMost) this.waitingMost = count;
  }

  /** Of all nodes, those that left included, and of what came to none. */
  get total(): Counts {
    const total = new Counts();
    total.addCounts(this.nowhere);
    for (const counts of this.#nodes.values()) total.addCounts(counts);
    return total;
  }

  /** All that is counted once for the whole lb, by name. */
  get named(): Record<string, number> {
    const {
      connectionsRefused,
      arrivalsFailed,
      exchangesNow,
      tunnelsNow,
      waitingMost,
      healthAnswers,
    } = this;
    const { cookiesNone, cookiesInvalid, cookiesDown, cookiesValid, cookiesInserted } = this;
    return {
      ...{
        connectionsEver: this.connections,
        connectionsRefused,
        arrivalsFailed,
        exchangesNow,
        tunnelsNow,
        waitingMost,
        healthAnswers,
      },
      ...{ cookiesNone, cookiesInvalid, cookiesDown, cookiesValid, cookiesInserted },
      ...this.total.named,
    };
  }

  #forgetOne(isKnown: (id: string) => boolean): void {
    for (const [id, counts] of this.#nodes) {
      if (isKnown(id)) continue;
      this.nowhere.addCounts(counts);
      this.#nodes.delete(id);
      return;
    }
  }
}
