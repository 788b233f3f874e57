// One client connection over HTTP: reads its requests one after another, takes each to a node, and
// relays the answer, until it closes or becomes a tunnel.

import type { ConnectionSlot } from "../accept/admission.ts";
import type { TransportInfo } from "../accept/handshake.ts";
import { HttpFault, unavailable } from "../http/faults.ts";
import type { Fields } from "../http/fields.ts";
import { forwardRequest } from "../http/forward.ts";
import { HeadReader, REQUEST, type RequestLine } from "../http/head.ts";
import { healthAnswer, type OwnAnswer, optionsAnswer, ownAnswer } from "../http/own-answers.ts";
import { interpretRequest, type Request } from "../http/request.ts";
import { BODY_TOO_LARGE } from "../http/request-body.ts";
import { type ByteSink, DISCARD } from "../net/byte-sink.ts";
import type { Expiring } from "../net/expiring.ts";
import type { OwnedSocket, SocketOwner } from "../net/socket-owner.ts";
import { AccessLogEntry, recordRefusal } from "../telemetry/access-log-entry.ts";
import { Account } from "../telemetry/account.ts";
import type { Lease, Waiter } from "../upstreams/dispatch.ts";
import type { PoolNode } from "../upstreams/pool.ts";
import { ClientStream } from "./client-stream.ts";
import {
  bodyReadingIn,
  CLOSED,
  type Dialing,
  type Draining,
  type Exchanging,
  exchangingIn,
  READING,
  type Sending,
  type State,
} from "./connection-state.ts";
import type { LoadBalancerContext } from "./context.ts";
import {
  BODY_TIMEOUT,
  CONNECT_TIMEOUT,
  EARLY_CLOSE,
  EVERY_NODE_BUSY,
  Exchange,
  STALLED,
  UNREACHABLE,
} from "./exchange.ts";
import { Tunnel } from "./tunnel.ts";
import { Upstream, type UpstreamUser } from "./upstream.ts";

const HEAD_TIMEOUT = new HttpFault(408, "the request head did not come in time");
const STOPPED = unavailable("the lb stops", "stopped");
const BODY_ENDED = new HttpFault(
  400,
  "the connection ended before the body did",
  "",
  "clientAborted",
);

export class HttpConnection implements SocketOwner, Expiring, UpstreamUser, Waiter {
  expiresMs: number;
  readonly #context: LoadBalancerContext;
  readonly #client: ClientStream;
  readonly #reader: HeadReader<RequestLine>;
  #state: State = READING;
  /** The last exchange, while the client has not taken all of its answer. */
  #trailing: Exchange | undefined;
  /** When the head that is being read began, by the access log's clock. */
  #beganMs = 0;
  #isStopping = false;
  #hasServed = false;

  constructor(
    context: LoadBalancerContext,
    socket: OwnedSocket,
    slot: ConnectionSlot,
    transport: TransportInfo,
  ) {
    this.#context = context;
    this.#client = new ClientStream(context, socket, slot, transport);
    this.#reader = new HeadReader(REQUEST, context.options.numbers);
    this.expiresMs = context.clock.nowMs + context.options.numbers.headTimeoutMs;
    context.expiring.add(this);
    // After a reset the system no longer knows the address that the access log needs.
    if (context.accessLog !== undefined) void this.#client.hop;
  }

  get stickTo(): PoolNode | undefined {
    return exchangingIn(this.#state)?.exchange.stickTo;
  }

  get avoid(): PoolNode | undefined {
    return exchangingIn(this.#state)?.exchange.avoid;
  }

  // The client's socket.

  bytesReceived(chunk: Buffer): void {
    if (this.#state.kind === "reading" && !this.#client.writer.isBlocked) this.#readRequests(chunk);
    else if (bodyReadingIn(this.#state) !== undefined && !this.#client.holdsBytes)
      this.#relayBody(chunk);
    else this.#hold(chunk);
  }

  socketDrained(): void {
    if (!this.#client.writer.writeUnsent())
      return this.#expireIn(this.#context.options.numbers.stallTimeoutMs);
    this.#trailing?.settle(undefined);
    this.#trailing = undefined;
    if (this.#state.kind === "reading") return this.#readOn();
    if (this.#state.kind === "draining") return this.#awaitBody();
    if (this.#state.kind === "sending") this.#state.upstream.resume();
    this.#expireIn(this.#context.options.numbers.responseTimeoutMs);
  }

  endReceived(): void {
    this.#client.ended();
    if (this.#state.kind === "reading") this.#readOn();
    else this.#checkBodyEnd();
  }

  socketClosed(): void {
    const state = this.#state;
    if (state.kind === "reading" && this.#reader.begun)
      this.#recordRefusal(undefined, undefined, 0);
    this.#trailing?.settle("clientAborted");
    this.#client.closed();
    this.#context.expiring.delete(this);
    const exchanging = exchangingIn(state);
    if (exchanging !== undefined) {
      const { exchange, kind } = exchanging;
      const stage = exchange.stage(kind);
      this.#abandon(exchanging);
      exchange.settle("clientAborted", stage);
    }
    this.#state = CLOSED;
    if (state.kind === "reading") state.kept?.giveUp("end");
  }

  // The sweep.

  expired(): void {
    const state = this.#state;
    if (state.kind === "reading") {
      if (this.#reader.begun) this.#answerAndClose(HEAD_TIMEOUT, false);
      else this.#close();
    } else if (state.kind === "queued") this.#fail(state.exchange.lastFault ?? EVERY_NODE_BUSY);
    else if (state.kind === "dialing") this.#dialTimedOut(state);
    else if (state.kind === "sending")
      this.#fail(state.exchange.timeout(this.#client.writer.isBlocked, state.upstream.isBlocked));
    else if (state.kind === "draining") this.#drainTimedOut(state);
  }

  stop(): void {
    this.#isStopping = true;
    if (this.#state.kind === "reading" && !this.#reader.begun) this.#close();
    else if (this.#state.kind === "draining") this.#endDraining(this.#state, STOPPED);
  }

  drain(): void {
    this.stop();
  }

  cut(): void {
    this.#fail(STOPPED);
  }

  // The dispatcher.

  nodeAssigned(lease: Lease): void {
    const exchanging = exchangingIn(this.#state);
    if (exchanging === undefined) return lease.release();
    const { exchange } = exchanging;
    const upstream = new Upstream(lease, this, this.#context.dials);
    this.#state = { kind: "dialing", exchange, upstream };
    exchange.dialStarted(lease.node);
    this.#expireIn(this.#context.options.numbers.connectTimeoutMs);
    upstream.dial();
  }

  dispatchRefused(fault: HttpFault): void {
    this.#fail(exchangingIn(this.#state)?.exchange.lastFault ?? fault);
  }

  // The connection to the node.

  upstreamOpened(): void {
    if (this.#state.kind !== "dialing") return;
    const { exchange, upstream } = this.#state;
    exchange.account.connected();
    this.#send({ kind: "sending", exchange, upstream, isReused: false });
  }

  upstreamUnreachable(): void {
    if (this.#state.kind === "dialing") this.#tryAnother(this.#state, UNREACHABLE);
  }

  upstreamDrained(): void {
    this.#flow();
  }

  upstreamReceived(chunk: Buffer): void {
    const state = this.#state;
    if (state.kind === "draining") return this.#dropUpstream(state);
    if (state.kind !== "sending") return;
    const { exchange, upstream } = state;
    const answer = exchange.readAnswer(
      chunk,
      upstream.lease.node,
      this.#isLast,
      this.#client.writer,
    );
    const isTaken = this.#client.writer.flush();
    const { responseTimeoutMs, stallTimeoutMs } = this.#context.options.numbers;
    this.#expireIn(isTaken ? responseTimeoutMs : stallTimeoutMs);
    if (!isTaken) upstream.pause();
    if (answer.fault !== undefined) this.#fail(answer.fault);
    else if (answer.phase === "done") this.#answerEnded(state);
    else if (answer.phase === "switched") this.#becomeTunnel(state);
  }

  upstreamEnded(): void {
    const state = this.#state;
    if (state.kind === "sending" && state.exchange.response.endsWithConnection)
      this.#answerEnded(state);
    else this.upstreamClosed();
  }

  upstreamClosed(): void {
    const state = this.#state;
    if (state.kind === "draining") return this.#dropUpstream(state);
    if (state.kind !== "sending") return;
    if (state.exchange.response.phase !== "head") return this.#fail(EARLY_CLOSE);
    state.upstream.giveUp("abort");
    const outcome = state.exchange.nodeLost(state.upstream.lease.node, state.isReused);
    if (outcome === "dispatch") this.#dispatch(state.exchange);
    else this.#fail(outcome);
  }

  // Reading requests.

  /** The connection takes no other request after this one. */
  get #isLast(): boolean {
    return this.#isStopping || (this.#client.hasEnded && !this.#client.holdsBytes);
  }

  /** Reads what was held. A client that has sent its FIN is served to the end of what it sent. */
  #readOn(): void {
    const held = this.#client.writer.isBlocked ? undefined : this.#client.takeHeld();
    if (held !== undefined) this.#readRequests(held);
    if (this.#state.kind !== "reading" || !this.#isLast) return;
    if (this.#reader.begun) this.#recordRefusal(undefined, undefined, 0);
    this.#close();
  }

  #readRequests(chunk: Buffer): void {
    const { accessLog, options } = this.#context;
    let at = 0;
    while (this.#state.kind === "reading" && at < chunk.length) {
      const hadBegun = this.#reader.begun;
      if (!hadBegun && accessLog !== undefined) this.#beganMs = accessLog.now();
      at = this.#reader.read(chunk, at);
      const { start, fields, fault } = this.#reader;
      if (fault !== undefined) this.#answerAndClose(fault, false);
      else if (start !== undefined) this.#startRequest(start, fields, chunk, at);
      else if (this.#hasServed && !hadBegun && this.#reader.begun)
        this.#expireIn(options.numbers.headTimeoutMs);
    }
  }

  /** What follows the head in the chunk, at `at`, is held where it cannot be read yet. */
  #startRequest(start: RequestLine, fields: Fields, chunk: Buffer, at: number): void {
    const toHead = start.method === "HEAD";
    const { healthPath, numbers } = this.#context.options;
    const request = interpretRequest(start, fields);
    if (request instanceof HttpFault) return this.#answerAndClose(request, toHead, start);
    if (request.framing.kind === "length" && request.framing.bytes > numbers.bodyBytesMax)
      return this.#answerAndClose(BODY_TOO_LARGE, toHead, start);
    const own = ownAnswer(request, healthPath);
    if (own === undefined) this.#startExchange(request, fields, chunk, at);
    else if (own instanceof HttpFault) this.#answerAndClose(own, toHead, start);
    else this.#answerItself(own, request, toHead);
  }

  #startExchange(request: Request, fields: Fields, chunk: Buffer, at: number): void {
    const hop = this.#client.hop;
    if (hop === undefined) return this.#reset();
    const { accessLog, pool, headBuffer } = this.#context;
    headBuffer.length = 0;
    const forwarded = forwardRequest(request, fields, hop, headBuffer);
    if (forwarded instanceof HttpFault)
      return this.#answerAndClose(forwarded, request.method === "HEAD", request);
    const entry =
      accessLog === undefined
        ? undefined
        : new AccessLogEntry(accessLog, forwarded.client, request, this.#beganMs);
    const account = new Account(pool.counters, entry);
    const head = headBuffer.takeCopy();
    const exchange = new Exchange(this.#context, request, forwarded, head, account);
    const kept = this.#state.kind === "reading" ? this.#state.kept : undefined;
    this.#state = { kind: "queued", exchange };
    if (at < chunk.length) this.#hold(chunk.subarray(at));
    if (kept !== undefined && exchange.canUse(kept)) {
      account.reused(kept.lease.node);
      kept.use(this);
      this.#send({ kind: "sending", exchange, upstream: kept, isReused: true });
    } else {
      kept?.giveUp("end");
      this.#dispatch(exchange);
    }
  }

  /** What comes of a body is nobody's: the connection ends. */
  #answerItself(own: OwnAnswer, request: Request, toHead: boolean): void {
    const { pool, options, date } = this.#context;
    const closes = !request.keepsAlive || request.hasBody || this.#isLast;
    const form = { closes, toHead, date: date.text };
    if (own === "health") pool.counters.healthAnswers++;
    this.#client.writer.text(
      own === "health" ? healthAnswer(pool.anyUp(), form) : optionsAnswer(form),
    );
    this.#client.writer.flush();
    this.#hasServed = true;
    this.#expireIn(options.numbers.keepAliveTimeoutMs);
    if (closes || this.#client.writer.isBlocked) this.#close();
  }

  // One exchange.

  #dispatch(exchange: Exchange): void {
    this.#state = { kind: "queued", exchange };
    this.#expireIn(this.#context.options.numbers.queueTimeoutMs);
    this.#context.dispatcher.dispatch(this);
  }

  #dialTimedOut(state: Dialing): void {
    const { node } = state.upstream.lease;
    state.upstream.giveUp("abort");
    if (this.#context.pool.hasOther(node)) this.#tryAnother(state, CONNECT_TIMEOUT);
    else this.#fail(CONNECT_TIMEOUT);
  }

  #tryAnother({ exchange, upstream }: Dialing, fault: HttpFault): void {
    const outcome = exchange.dialFailed(upstream.lease.node, fault);
    if (outcome === "dispatch") this.#dispatch(exchange);
    else this.#fail(outcome);
  }

  #send(state: Sending): void {
    const { exchange, upstream } = state;
    const { output } = upstream;
    if (output === undefined) return;
    this.#state = state;
    this.#expireIn(this.#context.options.numbers.responseTimeoutMs);
    exchange.body.writeHead(output);
    exchange.account.sent(exchange.body.headBytes);
    const held = exchange.body.isRead ? undefined : this.#client.takeHeld();
    if (held !== undefined) {
      const at = this.#readBody(state, held, output);
      if (this.#state !== state) return;
      this.#hold(held.subarray(at));
    }
    output.flush();
    this.#flow();
    this.#checkBodyEnd();
  }

  /** Sends what belongs to the request's body; what follows it is held. */
  #relayBody(chunk: Buffer): void {
    const state = bodyReadingIn(this.#state);
    if (state === undefined) return;
    const output = state.upstream?.output;
    const at = this.#readBody(state, chunk, output ?? DISCARD);
    output?.flush();
    if (this.#state !== state) return;
    this.#hold(at === 0 ? chunk : chunk.subarray(at));
    if (state.kind === "draining" && state.exchange.body.isRead) this.#finishExchange(state);
    else this.#flow();
  }

  #readBody(state: Sending | Draining, chunk: Buffer, output: ByteSink): number {
    const { body, account } = state.exchange;
    const at = body.read(chunk, output);
    account.sent(at);
    const { bodyTimeoutMs, responseTimeoutMs } = this.#context.options.numbers;
    if (!this.#client.writer.isBlocked)
      this.#expireIn(body.isRead ? responseTimeoutMs : bodyTimeoutMs);
    if (body.fault !== undefined) this.#bodyFailed(state, body.fault);
    return at;
  }

  #checkBodyEnd(): void {
    const state = bodyReadingIn(this.#state);
    if (this.#client.hasEnded && state?.exchange.body.isRead === false)
      this.#bodyFailed(state, BODY_ENDED);
  }

  #bodyFailed(state: Sending | Draining, fault: HttpFault): void {
    if (state.kind === "draining") this.#endDraining(state, fault);
    else this.#fail(fault);
  }

  /** Where the connection stays, the rest of the body has yet to come. */
  #answerEnded(state: Sending): void {
    const { exchange, upstream } = state;
    const { closes, isOverrun } = exchange.response;
    if (exchange.body.isRead || closes || this.#isStopping) return this.#finishExchange(state);
    const draining: Draining = { kind: "draining", exchange, upstream };
    this.#state = draining;
    if (isOverrun || !upstream.isOpen) this.#dropUpstream(draining);
    this.#awaitBody();
  }

  #awaitBody(): void {
    const { bodyTimeoutMs, stallTimeoutMs } = this.#context.options.numbers;
    this.#expireIn(this.#client.writer.isBlocked ? stallTimeoutMs : bodyTimeoutMs);
  }

  /** The node has answered and is gone, or is not to be trusted: what is left goes nowhere. */
  #dropUpstream({ exchange, upstream }: Draining): void {
    upstream?.giveUp("abort");
    this.#state = { kind: "draining", exchange, upstream: undefined };
    this.#flow();
  }

  #drainTimedOut(state: Draining): void {
    if (this.#client.writer.isBlocked) return this.#endDraining(state, STALLED);
    if (state.upstream?.isBlocked !== true) return this.#endDraining(state, BODY_TIMEOUT);
    this.#dropUpstream(state);
    this.#awaitBody();
  }

  /** The answer was given; nothing can be said about what is wrong with the rest of the request. */
  #endDraining(state: Draining, fault: HttpFault): void {
    const stage = state.exchange.stage(state.kind);
    this.#abandon(state);
    state.exchange.settle(fault.cause, stage);
    if (this.#client.writer.isBlocked) this.#reset();
    else this.#close();
  }

  /** A node that sent more than its answer is not trusted with another request. */
  #finishExchange({ exchange, upstream }: Sending | Draining): void {
    const { closes, nodeStays, isOverrun } = exchange.response;
    const isRead = exchange.body.isRead;
    const isClean = isRead && !isOverrun;
    const isUsable = upstream?.isOpen === true && !upstream.isBlocked;
    const stays = nodeStays && isClean && isUsable ? upstream : undefined;
    if (stays === undefined) upstream?.giveUp(isClean ? "end" : "abort");
    if (this.#client.writer.isBlocked) this.#trailing = exchange;
    else exchange.settle(undefined);
    this.#state = stays === undefined ? READING : { kind: "reading", kept: stays };
    stays?.rest(this.#context.clock.nowMs);
    this.#context.dispatcher.serveQueue();
    if (closes || !isRead || this.#isLast) return this.#close();
    this.#hasServed = true;
    this.#expireIn(this.#context.options.numbers.keepAliveTimeoutMs);
    this.#readOn();
    this.#flow();
  }

  #fail(fault: HttpFault): void {
    const exchanging = exchangingIn(this.#state);
    if (exchanging === undefined) return;
    const { exchange, kind } = exchanging;
    const stage = exchange.stage(kind);
    this.#abandon(exchanging);
    if (exchange.response.phase === "head") {
      const bytes = this.#client.writeFault(fault, exchange.request.method === "HEAD");
      this.#close();
      exchange.settle(fault.cause, stage, fault.status, bytes);
    } else {
      this.#reset();
      exchange.settle(fault.cause, stage);
    }
  }

  /** Ends what the exchange asks of others. */
  #abandon(state: Exchanging): void {
    this.#context.dispatcher.withdraw(this);
    if (state.kind !== "queued") state.upstream?.giveUp("abort");
  }

  // The end of the connection.

  /** `start`: the request that gets no exchange, where its first line was read. */
  #answerAndClose(fault: HttpFault, toHead: boolean, start?: RequestLine): void {
    const bytes = this.#client.writeFault(fault, toHead);
    this.#recordRefusal(start, fault, bytes);
    this.#close();
  }

  /** Resets the connection, so that the client does not take what it got for a whole answer. */
  #reset(): void {
    if (this.#state.kind === "reading") this.#state.kept?.giveUp("end");
    this.#state = CLOSED;
    this.#client.reset();
  }

  #becomeTunnel({ exchange, upstream }: Sending): void {
    const node = upstream.detach();
    if (node === undefined) return;
    this.#state = CLOSED;
    this.#context.expiring.delete(this);
    const { account, response } = exchange;
    new Tunnel(this.#context, this.#client.detach(), node, {
      account,
      first: response.switchedBytes,
    });
  }

  /** Hands the socket to a lingering close, which sends what is unsent. */
  #close(): void {
    const state = this.#state;
    if (state.kind === "closed") return;
    this.#state = CLOSED;
    if (state.kind === "reading") state.kept?.giveUp("end");
    this.#context.expiring.delete(this);
    this.#client.leave(this.#trailing);
  }

  /** A request without an exchange; without a fault, the client left before its head was whole. */
  #recordRefusal(
    start: RequestLine | undefined,
    fault: HttpFault | undefined,
    bytes: number,
  ): void {
    const { pool, accessLog } = this.#context;
    const cause = fault?.cause ?? "clientAborted";
    pool.counters.nowhere.exchangeEnded(cause, fault?.status ?? 0, true);
    if (accessLog !== undefined)
      recordRefusal(accessLog, this.#client.hop?.peer, start, this.#beganMs, fault, bytes);
  }

  // Flow and time.

  #hold(bytes: Buffer): void {
    const exchange = exchangingIn(this.#state)?.exchange;
    if (bytes.length === 0 || exchange?.isFollowedByNothing === true) return;
    this.#client.hold(bytes);
    this.#flow();
  }

  /** Pauses the client while too much is held or the node takes nothing. */
  #flow(): void {
    if (this.#state.kind !== "closed")
      this.#client.flow(bodyReadingIn(this.#state)?.upstream?.isBlocked === true);
  }

  #expireIn(ms: number): void {
    this.expiresMs = this.#context.clock.nowMs + ms;
  }

  /** The connection exists before its owner does. */
  socketOpened(): void {}
  dialFailed(): void {}
}
