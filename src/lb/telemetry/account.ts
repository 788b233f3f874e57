// What is kept of one exchange, and of the tunnel that it may become, to be counted and logged:
// with the node it came to last, and once, when it is over. It decides nothing.

import type { TerminationCause, TerminationStage } from "../http/termination.ts";
import type { AccessLogEntry } from "./access-log-entry.ts";
import type { CountedNode, Counters, Counts } from "./counters.ts";

export class Account {
  readonly #counters: Counters;
  #counts: Counts;
  /** Its line of the access log; undefined without one. */
  readonly #entry: AccessLogEntry | undefined;
  #isSettled = false;

  constructor(counters: Counters, entry: AccessLogEntry | undefined) {
    this.#counters = counters;
    this.#counts = counters.nowhere;
    this.#entry = entry;
    counters.exchangesNow++;
  }

  /**
   * The sticky cookie that came. `named`: the node it names; `usable`: that node, where it may be
   * used.
   */
  cookie(
    value: string | undefined,
    named: CountedNode | undefined,
    usable: CountedNode | undefined,
  ): void {
    const letter = this.#counters.cookie(value, named, usable);
    if (this.#entry !== undefined) this.#entry.cookie = letter;
  }

  /** The answer gives a cookie. */
  cookieGiven(): void {
    this.#counters.cookiesInserted++;
    if (this.#entry !== undefined) this.#entry.isCookieGiven = true;
  }

  assigned(node: CountedNode): void {
    this.#counts = node.counts;
    this.#entry?.assigned(node.id);
  }

  /** It goes to the node over a connection that was there. */
  reused(node: CountedNode): void {
    this.#counts = node.counts;
    this.#entry?.reused(node.id);
  }

  connected(): void {
    this.#entry?.connected();
  }

  /** It is dispatched again, for its node could not be reached. */
  redispatched(): void {
    this.#counts.redispatches++;
    this.#entry?.again();
  }

  /** It is dispatched again, for its node went away before the answer. */
  retried(): void {
    this.#counts.retries++;
    this.#entry?.again();
  }

  /** To the node. */
  sent(bytes: number): void {
    this.#counts.bytesIn += bytes;
    if (this.#entry !== undefined) this.#entry.bytesIn += bytes;
  }

  /** From the node. */
  received(bytes: number): void {
    this.#counts.bytesOut += bytes;
    if (this.#entry !== undefined) this.#entry.bytesOut += bytes;
  }

  /** The head of the answer is there, or not: then `status` is 0. */
  answered(status: number): void {
    if (this.#entry !== undefined && this.#entry.status !== status) this.#entry.answered(status);
  }

  /** The exchange is over. `ownBytes`: of the answer, where the lb gave it. */
  settle(
    failure: TerminationCause | undefined,
    stage: TerminationStage,
    status: number,
    ownBytes: number,
  ): void {
    if (!this.#settleOnce()) return;
    this.#counts.exchangeEnded(failure, status, ownBytes > 0);
    if (this.#entry === undefined) return;
    this.#entry.status = status;
    this.#entry.bytesOut += ownBytes;
    this.#entry.end(failure, stage);
  }

  /** The exchange has become a tunnel; `tunnelEnded` must follow. */
  tunnelled(): void {
    if (!this.#settleOnce()) return;
    this.#counts.exchangeEnded(undefined, 101, false);
    this.#counts.tunnels++;
    this.#counters.tunnelsNow++;
  }

  /** `closeClient`, `closeNode`: the codes of the close frames that they sent. */
  tunnelEnded(
    failure: TerminationCause | undefined,
    closeClient: number | undefined,
    closeNode: number | undefined,
  ): void {
    this.#counters.tunnelsNow--;
    if (failure !== undefined) this.#counts.terminations[failure]++;
    if (this.#entry === undefined) return;
    this.#entry.closeClient = closeClient;
    this.#entry.closeNode = closeNode;
    this.#entry.end(failure, "T");
  }

  #settleOnce(): boolean {
    if (this.#isSettled) return false;
    this.#isSettled = true;
    this.#counters.exchangesNow--;
    return true;
  }
}
