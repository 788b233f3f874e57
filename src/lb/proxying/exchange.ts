// One request and its answer: from the choice of a node to the last byte relayed, or to the fault
// that the client is told. Bytes are cut and framed by the pure files; sockets are the client
// connection's and the upstream's.

import { cookieFields } from "../http/cookie.ts";
import { HttpFault, unavailable } from "../http/faults.ts";
import type { ForwardedRequest } from "../http/forward.ts";
import type { Request } from "../http/request.ts";
import { RequestBody } from "../http/request-body.ts";
import { type AnswerTerms, Response } from "../http/response.ts";
import type { TerminationCause, TerminationStage } from "../http/termination.ts";
import type { SocketWriter } from "../net/socket-writer.ts";
import type { Account } from "../telemetry/account.ts";
import type { Lease, Waiter } from "../upstreams/dispatch.ts";
import type { PoolNode } from "../upstreams/pool.ts";
import type { ClientConnection } from "./client.ts";
import type { LoadBalancerContext } from "./context.ts";
import { Tunnel } from "./tunnel.ts";
import { Upstream, type UpstreamUser } from "./upstream.ts";

const DIALS_MAX = 4;
const RESENDS_MAX = 2;
/**
 * A node may close an idle connection just when a request is on its way; after so long only
 * requests that can be repeated take the risk.
 */
const FRESH_MS = 1000;

const EVERY_NODE_BUSY = unavailable("every node is busy", "queueTimeout");
const UNREACHABLE = unavailable("the node cannot be reached", "connectRefused");
const CONNECT_TIMEOUT = new HttpFault(
  504,
  "the node did not accept the connection in time",
  "",
  "connectTimeout",
);
const RESPONSE_TIMEOUT = new HttpFault(504, "the node did not answer in time");
const BODY_TIMEOUT = new HttpFault(408, "the body did not come in time");
const STALLED = new HttpFault(408, "the client did not take the answer in time");
const EARLY_CLOSE = new HttpFault(
  502,
  "the node closed the connection without an answer",
  "",
  "earlyClose",
);

export class Exchange implements UpstreamUser, Waiter, AnswerTerms {
  readonly request: Request;
  /** The node that the sticky cookie names, when it may be used. */
  readonly stickTo: PoolNode | undefined;
  avoid: PoolNode | undefined;
  readonly #shared: LoadBalancerContext;
  readonly #client: ClientConnection;
  readonly #forwarded: ForwardedRequest;
  readonly #sending: RequestBody;
  #answer: Response;
  #phase: "queued" | "dialing" | "sending" | "over" = "queued";
  #upstream: Upstream | undefined;
  #isReused = false;
  #dials = 0;
  #resends = 0;
  #lastFault: HttpFault | undefined;
  readonly #account: Account;

  /** `head`: as the node gets it. */
  constructor(
    shared: LoadBalancerContext,
    client: ClientConnection,
    request: Request,
    forwarded: ForwardedRequest,
    head: Buffer,
    account: Account,
  ) {
    this.#shared = shared;
    this.#client = client;
    this.request = request;
    this.#forwarded = forwarded;
    this.#sending = new RequestBody(request, head, shared.options.numbers.bodyBytesMax);
    this.#answer = new Response(request, shared.options.numbers, this);
    const { pool } = shared;
    const sticky = forwarded.sticky === undefined ? undefined : pool.byCookie(forwarded.sticky);
    this.stickTo = sticky !== undefined && pool.isAvailable(sticky) ? sticky : undefined;
    this.#account = account;
    if (this.cookieName !== undefined) account.cookie(forwarded.sticky, sticky, this.stickTo);
  }

  /** The whole request, its body included, has been read. */
  get requestIsRead(): boolean {
    return this.#sending.isRead;
  }

  /** Whatever the client sends from now on belongs to no request of this connection. */
  get isFollowedByNothing(): boolean {
    const { keepsAlive, handshake } = this.request;
    return !keepsAlive && handshake === undefined && this.requestIsRead;
  }

  /** The request is on its way: body bytes are taken. */
  get isSending(): boolean {
    return this.#phase === "sending";
  }

  /** The node does not take the request as fast as it comes. */
  get isBlocked(): boolean {
    return this.#upstream?.isBlocked === true;
  }

  start(kept: Upstream | undefined): void {
    if (kept === undefined) return this.#dispatch();
    if (!this.#canUse(kept)) {
      kept.giveUp("end");
      return this.#dispatch();
    }
    this.#isReused = true;
    this.#upstream = kept;
    this.#account.reused(kept.lease.node);
    kept.use(this);
    this.#send(kept);
  }

  /** Takes what belongs to the request's body; returns where the rest begins. */
  takeBody(chunk: Buffer): number {
    const output = this.#upstream?.output;
    if (!this.isSending || output === undefined) return 0;
    const at = this.#readBody(chunk, output);
    output.flush();
    return at;
  }

  /** The client is gone. */
  abort(): void {
    if (this.#phase === "over") return;
    const stage = this.#stage;
    this.#drop();
    this.settle("clientAborted", stage);
  }

  fail(fault: HttpFault): void {
    if (this.#phase === "over") return;
    const stage = this.#stage;
    this.#drop();
    if (this.#answer.phase === "head") {
      const bytes = this.#client.answer(fault, this.request.method === "HEAD");
      this.settle(fault.cause, stage, fault.status, bytes);
    } else {
      this.#client.destroy();
      this.settle(fault.cause, stage);
    }
  }

  /** Counts and logs how it ended, once. `ownBytes`: of the answer, where the lb gave it. */
  settle(
    failure: TerminationCause | undefined,
    stage: TerminationStage = "L",
    status = this.#answer.status,
    ownBytes = 0,
  ): void {
    this.#account.settle(failure, stage, status, ownBytes);
  }

  expired(): void {
    if (this.#phase === "queued") this.fail(this.#lastFault ?? EVERY_NODE_BUSY);
    else if (this.#phase === "dialing") this.#dialTimedOut();
    else if (this.#client.output.isBlocked) this.fail(STALLED);
    else this.fail(this.requestIsRead || this.isBlocked ? RESPONSE_TIMEOUT : BODY_TIMEOUT);
  }

  clientDrained(): void {
    this.#upstream?.resume();
    this.#waitFor(this.#shared.options.numbers.responseTimeoutMs);
  }

  nodeAssigned(lease: Lease): void {
    this.#phase = "dialing";
    this.#isReused = false;
    this.#account.assigned(lease.node);
    this.#waitFor(this.#shared.options.numbers.connectTimeoutMs);
    this.#dials++;
    this.#upstream = new Upstream(lease, this, this.#shared.dials);
    this.#upstream.dial();
  }

  dispatchRefused(fault: HttpFault): void {
    this.fail(this.#lastFault ?? fault);
  }

  upstreamOpened(): void {
    this.#account.connected();
    if (this.#upstream !== undefined) this.#send(this.#upstream);
  }

  upstreamUnreachable(): void {
    this.#tryAnother(UNREACHABLE);
  }

  upstreamDrained(): void {
    this.#client.flow();
  }

  upstreamReceived(chunk: Buffer): void {
    const answer = this.#answer;
    answer.read(chunk, this.#client.output);
    this.#account.received(chunk.length);
    this.#account.answered(answer.status);
    const isTaken = this.#client.output.flush();
    const { responseTimeoutMs, stallTimeoutMs } = this.#shared.options.numbers;
    this.#waitFor(isTaken ? responseTimeoutMs : stallTimeoutMs);
    if (!isTaken) this.#upstream?.pause();
    if (answer.fault !== undefined) this.fail(answer.fault);
    else if (answer.phase === "done") this.#finish();
    else if (answer.phase === "switched") this.#switch();
  }

  upstreamEnded(): void {
    if (this.#answer.phase === "head") this.#lost();
    else if (this.#answer.endsWithConnection) this.#finish();
    else this.fail(EARLY_CLOSE);
  }

  upstreamClosed(): void {
    if (this.#answer.phase === "head") this.#lost();
    else this.fail(EARLY_CLOSE);
  }

  get cookieName(): string | undefined {
    return this.#shared.options.cookie?.name;
  }

  stickyFields(): string {
    const { cookie } = this.#shared.options;
    const node = this.#upstream?.lease.node;
    if (cookie === undefined || node === undefined || node === this.stickTo) return "";
    this.#account.cookieGiven();
    return cookieFields(cookie, node.cookie, this.#forwarded.isSecure);
  }

  mustClose(): boolean {
    const { keepsAlive, handshake } = this.request;
    return !keepsAlive || handshake !== undefined || !this.requestIsRead || this.#client.isLast;
  }

  get #stage(): TerminationStage {
    if (this.#phase === "queued") return "Q";
    if (this.#phase === "dialing") return "C";
    return this.#answer.phase === "head" && this.requestIsRead ? "H" : "D";
  }

  /** Ends what it asks of others. */
  #drop(): void {
    this.#phase = "over";
    this.#shared.dispatcher.withdraw(this);
    this.#upstream?.giveUp("abort");
  }

  #canUse(kept: Upstream): boolean {
    const { node } = kept.lease;
    if (!kept.isOpen || !this.#shared.pool.isAvailable(node)) return false;
    if (this.stickTo !== undefined && this.stickTo !== node) return false;
    return this.request.repeatable || this.#shared.clock.nowMs - kept.idleSinceMs < FRESH_MS;
  }

  #waitFor(ms: number): void {
    this.#client.expiresMs = this.#shared.clock.nowMs + ms;
  }

  #dispatch(): void {
    this.#phase = "queued";
    this.#waitFor(this.#shared.options.numbers.queueTimeoutMs);
    this.#shared.dispatcher.dispatch(this);
  }

  #send(upstream: Upstream): void {
    const { output } = upstream;
    if (output === undefined) return;
    this.#phase = "sending";
    this.#waitFor(this.#shared.options.numbers.responseTimeoutMs);
    this.#sending.writeHead(output);
    this.#account.sent(this.#sending.headBytes);
    const held = this.requestIsRead ? undefined : this.#client.takeHeld();
    if (held !== undefined) {
      const at = this.#readBody(held, output);
      if (!this.isSending) return;
      this.#client.hold(held.subarray(at));
    }
    output.flush();
    this.#client.requestSent();
  }

  #readBody(chunk: Buffer, output: SocketWriter): number {
    const at = this.#sending.read(chunk, output);
    this.#account.sent(at);
    const { bodyTimeoutMs, responseTimeoutMs } = this.#shared.options.numbers;
    this.#waitFor(this.requestIsRead ? responseTimeoutMs : bodyTimeoutMs);
    if (this.#sending.fault !== undefined) this.fail(this.#sending.fault);
    return at;
  }

  #dialTimedOut(): void {
    const node = this.#upstream?.lease.node;
    this.#upstream?.giveUp("abort");
    if (node !== undefined && this.#shared.pool.hasOther(node)) this.#tryAnother(CONNECT_TIMEOUT);
    else this.fail(CONNECT_TIMEOUT);
  }

  /** Nothing has reached a server yet: any request may go elsewhere. */
  #tryAnother(fault: HttpFault): void {
    this.#lastFault = fault;
    this.avoid = this.#upstream?.lease.node;
    this.#upstream = undefined;
    if (this.#dials >= DIALS_MAX) return this.fail(fault);
    this.#account.redispatched();
    this.#dispatch();
  }

  /**
   * The node went away before its answer. Bytes may have reached it: only what can be repeated is
   * sent again (RFC 9110, 9.2.2).
   */
  #lost(): void {
    const node = this.#upstream?.lease.node;
    this.#upstream?.giveUp("abort");
    this.#upstream = undefined;
    if (!this.request.repeatable || this.#answer.interims > 0 || this.#resends >= RESENDS_MAX)
      return this.fail(EARLY_CLOSE);
    this.#resends++;
    this.#account.retried();
    this.#answer = new Response(this.request, this.#shared.options.numbers, this);
    this.#lastFault = EARLY_CLOSE;
    if (!this.#isReused) this.avoid = node;
    this.#dispatch();
  }

  /**
   * The answer is relayed. A node that sent more than its answer cannot be trusted with another
   * request.
   */
  #finish(): void {
    this.#phase = "over";
    const upstream = this.#upstream;
    const { closes, nodeStays, isOverrun } = this.#answer;
    const isClean = this.requestIsRead && !isOverrun;
    const stays = nodeStays && isClean && upstream?.isOpen === true && !upstream.isBlocked;
    if (!stays) upstream?.giveUp(isClean ? "end" : "abort");
    if (!this.#client.output.isBlocked) this.settle(undefined);
    this.#client.exchangeDone(closes || !this.requestIsRead, stays ? upstream : undefined);
  }

  #switch(): void {
    const upstream = this.#upstream?.detach();
    if (upstream === undefined) return;
    this.#phase = "over";
    new Tunnel(this.#shared, this.#client.detach(), upstream, this.#account);
  }
}
