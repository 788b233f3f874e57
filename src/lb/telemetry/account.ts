// Counts and logs one exchange, and the tunnel that it may become: for its latest node, and once,
// at its end. It decides nothing.

import type { TerminationCause, TerminationStage } from "../http/termination.ts";
import type { AccessLogEntry } from "./access-log-entry.ts";
import type { CountedNode, Counters, Counts } from "./counters.ts";

export class Account {
  readonly #counters: Counters;
  #counts: Counts;
  /** Its access log entry; undefined: there is no access log. */
  readonly #entry: AccessLogEntry | undefined;
  #isSettled = false;

  constructor(counters: Counters, entry: AccessLogEntry | undefined) {
    this.#counters = counters;
    this.#counts = counters.nowhere;
    this.#entry = entry;
    counters.exchangesNow++;
  }

  /**
   * Records the received sticky cookie. `named`: its node; `usable`: that node, if it is available.
   */
  cookie(
    value: string | undefined,
    named: CountedNode | undefined,
    usable: CountedNode | undefined,
  ): void {
    const letter = this.#counters.cookie(value, named, usable);
    if (this.#entry !== undefined) this.#entry.cookie = letter;
  }

  /** The response sets the cookie. */
  cookieGiven(): void {
    this.#counters.cookiesInserted++;
    if (this.#entry !== undefined) this.#entry.isCookieGiven = true;
  }

  assigned(node: CountedNode): void {
    this.#counts = node.counts;
    this.#entry?.assigned(node.id);
  }

  /** The exchange uses an idle connection to the node. */
  reused(node: CountedNode): void {
    this.#counts = node.counts;
    this.#entry?.reused(node.id);
  }

  connected(): void {
    this.#entry?.connected();
  }

  /** It is dispatched again because its node could not be reached. */
  redispatched(): void {
    this.#counts.redispatches++;
    this.#entry?.again();
  }

  /** It is dispatched again because its node disconnected before the response. */
  retried(): void {
    this.#counts.retries++;
    this.#entry?.again();
  }

  /** Bytes sent to the node. */
  sent(bytes: number): void {
    this.#counts.bytesIn += bytes;
    if (this.#entry !== undefined) this.#entry.bytesIn += bytes;
  }

  /** Bytes received from the node. */
  received(bytes: number): void {
    this.#counts.bytesOut += bytes;
    if (this.#entry !== undefined) this.#entry.bytesOut += bytes;
  }

  /** The response head has arrived; `status` 0: it has not. */
  answered(status: number): void {
    if (this.#entry !== undefined && this.#entry.status !== status) this.#entry.answered(status);
  }

  /** The exchange has ended. `ownBytes`: the size of the lb's own response. */
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
