// Collects one exchange's record for the access log; exists only if there is one. The clocks are
// the log's.

import type { HttpFault } from "../http/faults.ts";
import type { RequestLine } from "../http/head.ts";
import {
  type TerminationCause,
  type TerminationStage,
  terminationState,
} from "../http/termination.ts";
import type { AccessLog } from "./access-log.ts";

export class AccessLogEntry {
  /** The status that the client received; 0: none. */
  status = 0;
  bytesIn = 0;
  bytesOut = 0;
  closeClient: number | undefined;
  closeNode: number | undefined;
  retries = 0;
  node: string | undefined;
  /** `N` none, `I` invalid, `D` its node is unavailable, `V` valid; `-` cookies are off. */
  cookie: "N" | "I" | "D" | "V" | "-" = "-";
  /** The response sets the cookie. */
  isCookieGiven = false;
  readonly #log: AccessLog;
  readonly #client: string | undefined;
  readonly #start: RequestLine | undefined;
  readonly #beganMs: number;
  readonly #timeMs: number;
  readonly #headMs: number | undefined;
  #queueMs: number | undefined;
  #connectMs: number | undefined;
  #responseMs: number | undefined;
  /** When the current phase began. */
  #sinceMs: number;

  /**
   * `start`: undefined if the head was incomplete. `beganMs`: when its first byte arrived, on the
   * log's clock.
   */
  constructor(
    log: AccessLog,
    client: string | undefined,
    start: RequestLine | undefined,
    beganMs: number,
  ) {
    const nowMs = log.now();
    this.#log = log;
    this.#client = client;
    this.#start = start;
    this.#beganMs = beganMs;
    this.#timeMs = log.time() - (nowMs - beganMs);
    this.#sinceMs = nowMs;
    if (start !== undefined) this.#headMs = nowMs - beganMs;
  }

  assigned(node: string): void {
    this.node = node;
    this.#queueMs = (this.#queueMs ?? 0) + this.#lap();
  }

  connected(): void {
    this.#connectMs = this.#lap();
  }

  /** The exchange uses an idle connection. */
  reused(node: string): void {
    this.node = node;
    this.#lap();
  }

  /** The exchange is retried. */
  again(): void {
    this.retries++;
    this.#lap();
  }

  answered(status: number): void {
    this.status = status;
    this.#responseMs = this.#lap();
  }

  /** The exchange has ended. */
  end(failure: TerminationCause | undefined, stage: TerminationStage): void {
    this.#log.write({
      timeMs: this.#timeMs,
      client: this.#client,
      method: this.#start?.method,
      target: this.#start?.target,
      version: this.#start === undefined ? undefined : `1.${this.#start.minor}`,
      status: this.status,
      node: this.node,
      bytesIn: this.bytesIn,
      bytesOut: this.bytesOut,
      headMs: this.#headMs,
      queueMs: this.#queueMs,
      connectMs: this.#connectMs,
      responseMs: this.#responseMs,
      totalMs: this.#log.now() - this.#beganMs,
      retries: this.retries,
      closeClient: this.closeClient,
      closeNode: this.closeNode,
      end: terminationState(failure, stage) + this.cookie + (this.isCookieGiven ? "I" : "-"),
    });
  }

  /** The time since the previous phase ended. */
  #lap(): number {
    const nowMs = this.#log.now();
    const lapMs = nowMs - this.#sinceMs;
    this.#sinceMs = nowMs;
    return lapMs;
  }
}

/**
 * Records a client that was answered or closed before its request became an exchange; `fault`
 * undefined: it disconnected within the request head.
 */
export function recordRefusal(
  log: AccessLog,
  client: string | undefined,
  start: RequestLine | undefined,
  beganMs: number,
  fault: HttpFault | undefined,
  bytesOut: number,
): void {
  const entry = new AccessLogEntry(log, client, start, beganMs);
  entry.status = bytesOut === 0 ? 0 : (fault?.status ?? 0);
  entry.bytesOut = bytesOut;
  entry.end(fault === undefined ? "clientAborted" : fault.cause, "R");
}
