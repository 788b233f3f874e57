// One request and its answer, without its sockets: where it may go, what it has tried, and what
// follows from a failure. The connection asks and acts; nothing here calls back.

import { cookieField } from "../http/cookie.ts";
import { HttpFault, unavailable } from "../http/faults.ts";
import type { ForwardedRequest } from "../http/forward.ts";
import type { Request } from "../http/request.ts";
import { RequestBody } from "../http/request-body.ts";
import { type AnswerTerms, Response } from "../http/response.ts";
import type { TerminationCause, TerminationStage } from "../http/termination.ts";
import type { ByteSink } from "../net/byte-sink.ts";
import type { Account } from "../telemetry/account.ts";
import type { PoolNode } from "../upstreams/pool.ts";
import type { LoadBalancerContext } from "./context.ts";
import type { Upstream } from "./upstream.ts";

const DIALS_MAX = 4;
const RESENDS_MAX = 2;
/**
 * A node may close an idle connection just when a request is on its way. On a connection idle for
 * longer than this, only requests that can be repeated take the risk.
 */
const FRESH_MS = 1000;

export const EVERY_NODE_BUSY = unavailable("every node is busy", "queueTimeout");
export const UNREACHABLE = unavailable("the node cannot be reached", "connectRefused");
export const CONNECT_TIMEOUT = new HttpFault(
  504,
  "the node did not accept the connection in time",
  "",
  "connectTimeout",
);
export const EARLY_CLOSE = new HttpFault(
  502,
  "the node closed the connection without an answer",
  "",
  "earlyClose",
);
const RESPONSE_TIMEOUT = new HttpFault(504, "the node did not answer in time");
export const BODY_TIMEOUT = new HttpFault(408, "the body did not come in time");
export const STALLED = new HttpFault(408, "the client did not take the answer in time");

export class Exchange implements AnswerTerms {
  readonly request: Request;
  readonly body: RequestBody;
  readonly account: Account;
  /** The node that the sticky cookie names, when it may be used. */
  readonly stickTo: PoolNode | undefined;
  readonly #context: LoadBalancerContext;
  readonly #forwarded: ForwardedRequest;
  #response: Response;
  #avoid: PoolNode | undefined;
  #node: PoolNode | undefined;
  #isClientLast = false;
  #dials = 0;
  #resends = 0;
  #lastFault: HttpFault | undefined;

  /** `head`: as the node gets it. */
  constructor(
    context: LoadBalancerContext,
    request: Request,
    forwarded: ForwardedRequest,
    head: Buffer,
    account: Account,
  ) {
    this.#context = context;
    this.request = request;
    this.#forwarded = forwarded;
    this.account = account;
    this.body = new RequestBody(request, head, context.options.numbers.bodyBytesMax);
    this.#response = new Response(request, context.options.numbers, this);
    const { pool } = context;
    const sticky = forwarded.sticky === undefined ? undefined : pool.byCookie(forwarded.sticky);
    this.stickTo = sticky !== undefined && pool.isAvailable(sticky) ? sticky : undefined;
    if (this.cookieName !== undefined) account.cookie(forwarded.sticky, sticky, this.stickTo);
  }

  /** The node that failed it last. */
  get avoid(): PoolNode | undefined {
    return this.#avoid;
  }

  get response(): Response {
    return this.#response;
  }

  /** What made it wait again; undefined: it waits for the first time. */
  get lastFault(): HttpFault | undefined {
    return this.#lastFault;
  }

  /** What the client sends after this request belongs to no other request. */
  get isFollowedByNothing(): boolean {
    const { keepsAlive, handshake } = this.request;
    return !keepsAlive && handshake === undefined && this.body.isRead;
  }

  /** Whether an idle connection, kept from the exchange before, may serve this one. */
  canUse(kept: Upstream): boolean {
    const { node } = kept.lease;
    if (!kept.isOpen || !this.#context.pool.isAvailable(node)) return false;
    if (this.stickTo !== undefined && this.stickTo !== node) return false;
    return this.request.repeatable || this.#context.clock.nowMs - kept.idleSinceMs < FRESH_MS;
  }

  dialStarted(node: PoolNode): void {
    this.#dials++;
    this.account.assigned(node);
  }

  /**
   * Reads what the node sent; writes what the client gets. `isLast`: the client's connection serves
   * no further request.
   */
  readAnswer(chunk: Buffer, node: PoolNode, isLast: boolean, output: ByteSink): Response {
    this.#node = node;
    this.#isClientLast = isLast;
    this.#response.read(chunk, output);
    this.account.received(chunk.length);
    this.account.answered(this.#response.status);
    return this.#response;
  }

  /**
   * The dial failed, so no server has seen the request, and any request may go to another node.
   * Returns the fault to answer with once there were enough dials.
   */
  dialFailed(node: PoolNode, fault: HttpFault): HttpFault | "dispatch" {
    this.#lastFault = fault;
    this.#avoid = node;
    if (this.#dials >= DIALS_MAX) return fault;
    this.account.redispatched();
    return "dispatch";
  }

  /**
   * The node closed before its answer. Bytes may have reached it, so only what can be repeated is
   * sent again (RFC 9110, 9.2.2).
   */
  nodeLost(node: PoolNode, isReused: boolean): HttpFault | "dispatch" {
    const { repeatable } = this.request;
    if (!repeatable || this.#response.interims > 0 || this.#resends >= RESENDS_MAX)
      return EARLY_CLOSE;
    this.#resends++;
    this.account.retried();
    this.#response = new Response(this.request, this.#context.options.numbers, this);
    this.#lastFault = EARLY_CLOSE;
    if (!isReused) this.#avoid = node;
    return "dispatch";
  }

  /** The fault of an exchange that made no progress while the request was sent or answered. */
  timeout(isClientBlocked: boolean, isNodeBlocked: boolean): HttpFault {
    if (isClientBlocked) return STALLED;
    return this.body.isRead || isNodeBlocked ? RESPONSE_TIMEOUT : BODY_TIMEOUT;
  }

  stage(kind: "queued" | "dialing" | "sending" | "draining"): TerminationStage {
    if (kind === "queued") return "Q";
    if (kind === "dialing") return "C";
    if (kind === "draining") return "D";
    return this.#response.phase === "head" && this.body.isRead ? "H" : "D";
  }

  /** Counts and logs the end of the exchange, once. `ownBytes`: of an answer that the lb gave. */
  settle(
    cause: TerminationCause | undefined,
    stage: TerminationStage = "L",
    status = this.#response.status,
    ownBytes = 0,
  ): void {
    this.account.settle(cause, stage, status, ownBytes);
  }

  get cookieName(): string | undefined {
    return this.#context.options.cookie?.name;
  }

  get date(): string {
    return this.#context.date.text;
  }

  stickyField(): string {
    const { cookie } = this.#context.options;
    const node = this.#node;
    if (cookie === undefined || node === undefined || node === this.stickTo) return "";
    this.account.cookieGiven();
    return cookieField(cookie, node.cookie, this.#forwarded.isSecure);
  }

  mustClose(nodeStays: boolean): boolean {
    const { keepsAlive, handshake } = this.request;
    if (!keepsAlive || handshake !== undefined || this.#isClientLast) return true;
    return !this.body.isRead && (!nodeStays || this.#mayLackBody);
  }

  /** A client that has an answer instead of a 100 may go on without its body. */
  get #mayLackBody(): boolean {
    return this.request.expectsContinue && !this.body.isComing;
  }
}
