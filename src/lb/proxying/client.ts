// One client's connection: reads its requests one after another, holds what comes too early, writes
// what it is answered, and ends kindly. What a request leads to is the exchange's business.

import type { ConnectionSlot } from "../accept/admission.ts";
import type { TransportInfo } from "../accept/handshake.ts";
import { faultAnswer, HttpFault, healthAnswer, unavailable } from "../http/faults.ts";
import type { Fields } from "../http/fields.ts";
import { forwardRequest, type Hop } from "../http/forward.ts";
import { HeadReader, REQUEST, type RequestLine } from "../http/head.ts";
import { interpretRequest, type Request } from "../http/request.ts";
import { BODY_TOO_LARGE } from "../http/request-body.ts";
import { ByteQueue } from "../net/byte-queue.ts";
import type { Expiring } from "../net/expiring.ts";
import type { OwnedSocket, SocketOwner } from "../net/socket-owner.ts";
import { SocketWriter } from "../net/socket-writer.ts";
import { plainAddress } from "../net/trust.ts";
import { AccessLogEntry, recordRefusal } from "../telemetry/access-log-entry.ts";
import { Account } from "../telemetry/account.ts";
import type { LoadBalancerContext } from "./context.ts";
import { Exchange } from "./exchange.ts";
import { LingeringClose } from "./lingering-close.ts";
import type { DetachedClient } from "./tunnel.ts";
import type { Upstream } from "./upstream.ts";

/**
 * Bytes that may wait for their turn: a pipelined request, a body without a node yet, frames sent
 * ahead of the 101.
 */
const HELD_BYTES_MAX = 64 * 1024;

const HEAD_TIMEOUT = new HttpFault(408, "the request head did not come in time");
const STOPPED = unavailable("the lb stops", "stopped");
const BODY_ENDED = new HttpFault(
  400,
  "the connection ended before the body did",
  "",
  "clientAborted",
);

export class ClientConnection implements SocketOwner, Expiring {
  expiresMs: number;
  readonly #shared: LoadBalancerContext;
  readonly #socket: OwnedSocket;
  readonly #seat: ConnectionSlot;
  readonly #origin: TransportInfo;
  readonly #outlet: SocketWriter;
  readonly #reader: HeadReader<RequestLine>;
  #state: "reading" | "exchanging" | "gone" = "reading";
  #hop: Hop | undefined;
  #exchange: Exchange | undefined;
  /** The last exchange, while the client has not taken all of its answer. */
  #trailing: Exchange | undefined;
  /** When the head that is being read began, by the access log's clock. */
  #beganMs = 0;
  /** The connection to a node that the last exchange left. */
  #kept: Upstream | undefined;
  readonly #held = new ByteQueue();
  #isPaused = false;
  /** The client has sent its FIN. */
  #hasEnded = false;
  #isStopping = false;
  #hasServed = false;

  constructor(
    shared: LoadBalancerContext,
    socket: OwnedSocket,
    seat: ConnectionSlot,
    origin: TransportInfo,
  ) {
    this.#shared = shared;
    this.#socket = socket;
    this.#seat = seat;
    this.#origin = origin;
    this.#outlet = new SocketWriter(socket);
    this.#reader = new HeadReader(REQUEST, shared.options.numbers);
    this.expiresMs = shared.clock.nowMs + shared.options.numbers.headTimeoutMs;
    shared.expiring.add(this);
    // Once a connection is reset the system knows no address any more, and its line of the access
    // log would have none.
    if (shared.accessLog !== undefined) this.#thisHop();
  }

  /** No other request will be taken after this one. */
  get isLast(): boolean {
    return this.#isStopping || (this.#hasEnded && this.#held.bytes === 0);
  }

  bytesReceived(chunk: Buffer): void {
    if (this.#state === "exchanging") this.#pass(chunk);
    else if (this.#outlet.isBlocked) this.hold(chunk);
    else this.#readRequests(chunk);
  }

  socketDrained(): void {
    if (!this.#outlet.writeUnsent())
      return this.#expireIn(this.#shared.options.numbers.stallTimeoutMs);
    this.#trailing?.settle(undefined);
    this.#trailing = undefined;
    if (this.#state === "exchanging") this.#exchange?.clientDrained();
    else this.#readOn();
  }

  endReceived(): void {
    this.#hasEnded = true;
    if (this.#state === "reading") this.#readOn();
    else if (this.#state === "exchanging") this.#checkBodyEnd();
  }

  socketClosed(): void {
    if (this.#state === "reading" && this.#reader.begun)
      this.#recordRefusal(undefined, undefined, 0);
    this.#trailing?.settle("clientAborted");
    this.#state = "gone";
    this.#seat.release();
    this.#shared.expiring.delete(this);
    this.#exchange?.abort();
    this.#kept?.giveUp("end");
    this.#held.takeAll();
  }

  expired(): void {
    if (this.#state === "exchanging") this.#exchange?.expired();
    else if (this.#reader.begun) this.answer(HEAD_TIMEOUT, false);
    else this.#close();
  }

  stop(): void {
    this.#isStopping = true;
    if (this.#state === "reading" && !this.#reader.begun) this.#close();
  }

  cut(): void {
    this.#exchange?.fail(STOPPED);
  }

  /** Where answers are written; after a `flush` that says false, wait for `clientDrained`. */
  get output(): SocketWriter {
    return this.#outlet;
  }

  /**
   * The last thing said on this connection; returns its length. `start`: what it answers, where
   * that came to no exchange.
   */
  answer(fault: HttpFault, toHead: boolean, start?: RequestLine): number {
    const answer = faultAnswer(fault, toHead);
    if (this.#exchange === undefined) this.#recordRefusal(start, fault, answer.length);
    this.#outlet.text(answer);
    this.#outlet.flush();
    this.#close();
    return answer.length;
  }

  /** Resets the connection: the client must not take what it got for the whole. */
  destroy(): void {
    this.#socket.terminate();
  }

  /** Keeps bytes for later; what follows the last request of a connection is for nobody. */
  hold(bytes: Buffer): void {
    if (bytes.length === 0 || this.#exchange?.isFollowedByNothing === true) return;
    this.#held.append(bytes);
    this.flow();
  }

  takeHeld(): Buffer | undefined {
    return this.#held.takeAll();
  }

  /** Reads from the client, or lets it wait, as the exchange and what is held allow. */
  flow(): void {
    const mustPause = this.#held.bytes > HELD_BYTES_MAX || this.#exchange?.isBlocked === true;
    if (mustPause === this.#isPaused) return;
    this.#isPaused = mustPause;
    if (mustPause) this.#socket.pause();
    else this.#socket.resume();
  }

  /** The request is on its way, with what was held of its body. */
  requestSent(): void {
    this.flow();
    this.#checkBodyEnd();
  }

  /** The answer is written. Without `closes` the next request is read; `kept` may serve it. */
  exchangeDone(closes: boolean, kept: Upstream | undefined): void {
    if (this.#outlet.isBlocked) this.#trailing = this.#exchange;
    this.#exchange = undefined;
    this.#kept = kept;
    kept?.rest(this.#shared.clock.nowMs);
    this.#shared.dispatcher.serveQueue();
    if (closes || this.isLast) return this.#close();
    this.#state = "reading";
    this.#hasServed = true;
    this.#expireIn(this.#shared.options.numbers.keepAliveTimeoutMs);
    this.#readOn();
    this.flow();
  }

  /** Gives the socket up to a tunnel; nothing of this connection is left. */
  detach(): DetachedClient {
    this.#state = "gone";
    this.#exchange = undefined;
    this.#shared.expiring.delete(this);
    return {
      socket: this.#socket,
      seat: this.#seat,
      unsent: this.#outlet.unsent,
      held: this.#held.takeAll(),
      hasEnded: this.#hasEnded,
    };
  }

  /**
   * Reads what was held while it was not its turn. A client that has ended is served to the end of
   * what it sent.
   */
  #readOn(): void {
    const held = this.#outlet.isBlocked ? undefined : this.#held.takeAll();
    if (held !== undefined) this.#readRequests(held);
    if (this.#state !== "reading" || !this.isLast) return;
    if (this.#reader.begun) this.#recordRefusal(undefined, undefined, 0);
    this.#close();
  }

  #readRequests(chunk: Buffer): void {
    let at = 0;
    while (this.#state === "reading" && at < chunk.length) {
      const hadBegun = this.#reader.begun;
      if (!hadBegun) this.#clockHead();
      at = this.#reader.read(chunk, at);
      const { start, fields, fault } = this.#reader;
      if (fault !== undefined) this.answer(fault, false);
      else if (start !== undefined) this.#begin(start, fields, chunk, at);
      else if (this.#hasServed && !hadBegun && this.#reader.begun)
        this.#expireIn(this.#shared.options.numbers.headTimeoutMs);
    }
  }

  /** Starts what a request asks for. What follows it in the chunk, at `at`, waits if it must. */
  #begin(start: RequestLine, fields: Fields, chunk: Buffer, at: number): void {
    const toHead = start.method === "HEAD";
    const { healthPath, numbers } = this.#shared.options;
    const request = interpretRequest(start, fields);
    if (request instanceof HttpFault) this.answer(request, toHead, start);
    else if (request.framing.kind === "length" && request.framing.bytes > numbers.bodyBytesMax)
      this.answer(BODY_TOO_LARGE, toHead, start);
    else if (request.framing.kind === "none" && request.target === healthPath)
      this.#answerHealth(request, toHead);
    else this.#exchangeFor(request, fields, chunk, at);
  }

  #exchangeFor(request: Request, fields: Fields, chunk: Buffer, at: number): void {
    const hop = this.#thisHop();
    if (hop === undefined) return this.destroy();
    const { headBuffer } = this.#shared;
    headBuffer.length = 0;
    const forwarded = forwardRequest(request, fields, hop, headBuffer);
    if (forwarded instanceof HttpFault) {
      this.answer(forwarded, request.method === "HEAD", request);
      return;
    }
    const { accessLog, pool } = this.#shared;
    const entry =
      accessLog === undefined
        ? undefined
        : new AccessLogEntry(accessLog, hop.peer, request, this.#beganMs);
    const account = new Account(pool.counters, entry);
    const exchange = new Exchange(
      this.#shared,
      this,
      request,
      forwarded,
      headBuffer.takeCopy(),
      account,
    );
    const kept = this.#kept;
    this.#kept = undefined;
    this.#exchange = exchange;
    this.#state = "exchanging";
    if (at < chunk.length) this.hold(chunk.subarray(at));
    exchange.start(kept);
  }

  #answerHealth(request: Request, toHead: boolean): void {
    const { counters } = this.#shared.pool;
    counters.healthAnswers++;
    const closes = !request.keepsAlive || this.isLast;
    this.#outlet.text(healthAnswer(this.#shared.pool.anyUp(), closes, toHead));
    this.#outlet.flush();
    this.#hasServed = true;
    this.#expireIn(this.#shared.options.numbers.keepAliveTimeoutMs);
    if (closes || this.#outlet.isBlocked) this.#close();
  }

  /** Bytes that come during an exchange: of its body, or for later. */
  #pass(chunk: Buffer): void {
    const at = this.#held.bytes > 0 ? 0 : (this.#exchange?.takeBody(chunk) ?? 0);
    if (this.#state !== "exchanging") return;
    this.hold(at === 0 ? chunk : chunk.subarray(at));
    this.flow();
  }

  #checkBodyEnd(): void {
    const exchange = this.#exchange;
    if (this.#hasEnded && exchange?.isSending === true && !exchange.requestIsRead)
      exchange.fail(BODY_ENDED);
  }

  /**
   * Undefined when the client has reset the connection already: then the system knows no address
   * any more.
   */
  #thisHop(): Hop | undefined {
    if (this.#hop !== undefined) return this.#hop;
    const { scheme, isAnonymous } = this.#origin;
    const address: string | undefined = this.#origin.address ?? this.#socket.remoteAddress;
    if (address === undefined) return undefined;
    const { options, via, ownHost } = this.#shared;
    const peer = plainAddress(address);
    const trusted = !isAnonymous && options.trust(peer);
    this.#hop = { via, peer, trusted, scheme, ownHost, cookieName: options.cookie?.name };
    return this.#hop;
  }

  /** Notes, for the access log, when a head begins. */
  #clockHead(): void {
    const { accessLog } = this.#shared;
    if (accessLog !== undefined) this.#beganMs = accessLog.now();
  }

  /** A request that came to no exchange; without a fault, one that went away in its head. */
  #recordRefusal(
    start: RequestLine | undefined,
    fault: HttpFault | undefined,
    bytes: number,
  ): void {
    this.#shared.pool.counters.nowhere.exchangeEnded(
      fault?.cause ?? "clientAborted",
      fault?.status ?? 0,
      true,
    );
    const { accessLog } = this.#shared;
    if (accessLog !== undefined)
      recordRefusal(accessLog, this.#thisHop()?.peer, start, this.#beganMs, fault, bytes);
  }

  #expireIn(ms: number): void {
    this.expiresMs = this.#shared.clock.nowMs + ms;
  }

  /** Ends the connection after what is unsent; nothing of this one is left. */
  #close(): void {
    if (this.#state === "gone") return;
    this.#state = "gone";
    this.#exchange = undefined;
    this.#kept?.giveUp("end");
    this.#held.takeAll();
    const { expiring } = this.#shared;
    expiring.delete(this);
    const leaving = {
      socket: this.#socket,
      outlet: this.#outlet,
      seat: this.#seat,
      trailing: this.#trailing,
    };
    new LingeringClose(this.#shared, expiring, leaving);
  }

  /** It was there from the beginning. */
  socketOpened(): void {}
  dialFailed(): void {}
}
