// The counters of an lb since its start: plain integers, per node and for requests without a node.
// Pure; counting allocates nothing.

import { type TerminationCause, zeroByCause } from "../http/termination.ts";

/**
 * The maximum number of nodes with counters, including nodes that have left. Beyond it, the oldest
 * are added to the counts without a node.
 */
const NODES_MAX = 512;

/** The counts of one node, or of all requests without a node. */
export class Counts {
  /** Exchanges that ended, and WebSockets that began. */
  requests = 0;
  tunnels = 0;
  /** Bytes to and from nodes, as the sockets counted them. */
  bytesIn = 0;
  bytesOut = 0;
  /** Nodes' responses by status class: index 2 counts 2xx. */
  readonly answers = [0, 0, 0, 0, 0, 0];
  /** The lb's own responses, by status class. */
  readonly refusals = [0, 0, 0, 0, 0, 0];
  /** Requests sent again because the node disconnected before its response. */
  retries = 0;
  /** Requests sent to another node because the first could not be reached. */
  redispatches = 0;
  checksGood = 0;
  checksFailed = 0;
  /** When the node's health last changed, in ms since 1970; 0: never. */
  changedAtMs = 0;
  readonly terminations = zeroByCause();

  /** An exchange has ended. `status` 0: no response; `isOurs`: the lb's own response. */
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
    for (const cause in this.terminations) this.terminations[cause] += other.terminations[cause];
  }

  /** The counts by their external names. */
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

/** The part of a node that counting uses. */
export type CountedNode = { readonly id: string; readonly counts: Counts };

export class Counters {
  /** Admitted and refused clients. */
  connections = 0;
  connectionsRefused = 0;
  /** Current exchanges and tunnels. */
  exchangesNow = 0;
  tunnelsNow = 0;
  /** Connections that ended before HTTP: in the PROXY header or the TLS handshake. */
  arrivalsFailed = 0;
  /** The longest the queue for a node has been. */
  waitingMost = 0;
  healthAnswers = 0;
  cookiesNone = 0;
  cookiesInvalid = 0;
  cookiesDown = 0;
  cookiesValid = 0;
  cookiesInserted = 0;
  /** The counts of requests without a node. */
  readonly nowhere = new Counts();
  readonly #nodes = new Map<string, Counts>();

  /**
   * The counts of the node with this id, which continue if it returns. `isKnown`: nodes that are
   * present.
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
   * Counts the sticky cookie of a request; returns its access log character. `named`: its node;
   * `usable`: that node, if it is available.
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

  /** Records the current length of the queue. */
  waiting(count: number): void {
    if (count > this.waitingMost) this.waitingMost = count;
  }

  /** The sum over all nodes, including those that have left, and no node. */
  get total(): Counts {
    const total = new Counts();
    total.addCounts(this.nowhere);
    for (const counts of this.#nodes.values()) total.addCounts(counts);
    return total;
  }

  /** The counts of the lb as a whole, by name. */
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
