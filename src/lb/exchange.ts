// One request and its answer: from the choice of a node to the last byte relayed, or to the fault that the client is told. Bytes are
// cut and framed by the pure files; sockets are the client connection's and the upstream's.

import { Fault, unavailable } from "./answer.ts";
import { type BodyReader, bodyFault, bodyReader, frameContent } from "./body.ts";
import type { ClientConnection } from "./client.ts";
import { cookieFields } from "./cookie.ts";
import type { Lease, Waiter } from "./dispatch.ts";
import {
  type ForwardedRequest,
  forwardInterim,
  forwardResponse,
  forwardSwitching,
  forwardTrailers,
} from "./forward.ts";
import { type Framing, framingFields, NONE, parseLength, responseFraming } from "./framing.ts";
import { type Head, HeadReader, RESPONSE, type StatusLine } from "./head.ts";
import type { PoolNode } from "./pool.ts";
import type { Request } from "./request.ts";
import type { Shared } from "./shared.ts";
import { Tunnel } from "./tunnel.ts";
import { Upstream, type UpstreamUser } from "./upstream.ts";
import { grantsHandshake, listOf } from "./websocket.ts";

const DIALS_MAX = 4;
const RESENDS_MAX = 2;
const INTERIMS_MAX = 32;
/** A node may close an idle connection just when a request is on its way; after so long only requests that can be repeated take the risk. */
const FRESH_MS = 1000;
/** Up to here a head and what follows it are copied into one write. */
const GATHER_BYTES_MAX = 64 * 1024;

const EVERY_NODE_BUSY = unavailable("every node is busy");
const UNREACHABLE = unavailable("the node cannot be reached");
const CONNECT_TIMEOUT = new Fault(504, "the node did not accept the connection in time");
const RESPONSE_TIMEOUT = new Fault(504, "the node did not answer in time");
const BODY_TIMEOUT = new Fault(408, "the body did not come in time");
const BODY_TOO_LARGE = new Fault(413, "the body is too large");
const EARLY_CLOSE = new Fault(502, "the node closed the connection without an answer");
const BAD_SWITCH = new Fault(502, "the node switched protocols without a valid handshake");
const TOO_MANY_INTERIMS = new Fault(502, "the node sent too many interim answers");

export class Exchange implements UpstreamUser, Waiter {
  readonly request: Request;
  /** The node that the sticky cookie names, when it may be used. */
  readonly stickTo: PoolNode | undefined;
  avoid: PoolNode | undefined;
  readonly #shared: Shared;
  readonly #client: ClientConnection;
  readonly #forwarded: ForwardedRequest;
  readonly #requestBody: BodyReader | undefined;
  readonly #reader: HeadReader<StatusLine>;
  #phase: "queued" | "dialing" | "waiting" | "relaying" | "over" = "queued";
  #upstream: Upstream | undefined;
  #isReused = false;
  #dials = 0;
  #resends = 0;
  #interims = 0;
  #lastFault: Fault | undefined;
  #responseBody: BodyReader | undefined;
  #responseFraming: Framing = NONE;
  #closes = false;
  #upstreamStays = false;

  constructor(shared: Shared, client: ClientConnection, request: Request, forwarded: ForwardedRequest) {
    this.#shared = shared;
    this.#client = client;
    this.request = request;
    this.#forwarded = forwarded;
    this.#requestBody = bodyReader(request.framing);
    this.#reader = new HeadReader(RESPONSE, shared.options.numbers);
    const { pool } = shared;
    const sticky = forwarded.sticky === undefined ? undefined : pool.byCookie(forwarded.sticky);
    this.stickTo = sticky !== undefined && pool.isAvailable(sticky) ? sticky : undefined;
  }

  /** The whole request, its body included, has been read. */
  get requestIsRead(): boolean {
    return this.#requestBody === undefined || this.#requestBody.done;
  }

  /** Whatever the client sends from now on belongs to no request of this connection. */
  get isFollowedByNothing(): boolean {
    const { keepsAlive, handshake } = this.request;
    return !keepsAlive && handshake === undefined && this.requestIsRead;
  }

  /** The request is on its way: body bytes are taken. */
  get isSending(): boolean {
    return this.#phase === "waiting" || this.#phase === "relaying";
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
    kept.use(this);
    this.#send(kept);
  }

  /** Takes what belongs to the request's body; returns where the rest begins. */
  takeBody(chunk: Buffer, from: number): number {
    const upstream = this.#upstream;
    if (!this.isSending || upstream === undefined) return from;
    const pieces: Buffer[] = [];
    const at = this.#readBody(chunk, from, pieces);
    if (pieces.length > 0) upstream.write(pieces.length === 1 ? pieces[0] : Buffer.concat(pieces));
    return at;
  }

  /** The client is gone, or cannot be followed any more. */
  abort(): void {
    if (this.#phase === "over") return;
    this.#phase = "over";
    this.#shared.dispatcher.withdraw(this);
    this.#upstream?.giveUp("abort");
  }

  fail(fault: Fault): void {
    if (this.#phase === "over") return;
    const hasBegun = this.#phase === "relaying";
    this.abort();
    if (hasBegun) this.#client.destroy();
    else this.#client.answer(fault, this.request.method === "HEAD");
  }

  expired(): void {
    if (this.#phase === "queued") this.fail(this.#lastFault ?? EVERY_NODE_BUSY);
    else if (this.#phase === "dialing") this.#dialTimedOut();
    else this.fail(this.requestIsRead || this.isBlocked ? RESPONSE_TIMEOUT : BODY_TIMEOUT);
  }

  clientDrained(): void {
    this.#upstream?.resume();
    this.#waitFor(this.#shared.options.numbers.responseTimeoutMs);
  }

  assigned(lease: Lease): void {
    this.#phase = "dialing";
    this.#isReused = false;
    this.#waitFor(this.#shared.options.numbers.connectTimeoutMs);
    this.#dials++;
    this.#upstream = new Upstream(lease, this, this.#shared.dials);
    this.#upstream.dial();
  }

  refused(fault: Fault): void {
    this.fail(this.#lastFault ?? fault);
  }

  upstreamOpened(): void {
    if (this.#upstream !== undefined) this.#send(this.#upstream);
  }

  upstreamUnreachable(): void {
    this.#tryAnother(UNREACHABLE);
  }

  upstreamDrained(): void {
    this.#client.flow();
  }

  upstreamReceived(chunk: Buffer): void {
    let at = 0;
    while (this.#phase === "waiting" && at < chunk.length) {
      at = this.#reader.read(chunk, at);
      const { head, fault } = this.#reader;
      if (fault !== undefined) return this.fail(fault);
      if (head === undefined) return;
      const { status } = head.start;
      if (status === 101) return this.#switch(head, chunk.subarray(at));
      if (status >= 200) return this.#begin(head, chunk, at);
      this.#interim(head);
    }
    if (this.#phase === "relaying") this.#relay(undefined, chunk, at);
  }

  upstreamEnded(): void {
    if (this.#phase === "waiting") this.#lost();
    else if (this.#phase === "relaying" && this.#responseFraming.kind === "close") this.#finish(false);
    else this.fail(EARLY_CLOSE);
  }

  upstreamClosed(): void {
    if (this.#phase === "waiting") this.#lost();
    else this.fail(EARLY_CLOSE);
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
    this.#phase = "waiting";
    this.#waitFor(this.#shared.options.numbers.responseTimeoutMs);
    const pieces = [Buffer.from(this.#forwarded.head, "latin1")];
    if (!this.requestIsRead) {
      const held = this.#client.takeHeld();
      const at = this.#readBody(held, 0, pieces);
      this.#client.hold(held.subarray(at));
      if (!this.isSending) return;
    }
    upstream.write(pieces.length === 1 ? pieces[0] : Buffer.concat(pieces));
    this.#client.requestSent();
  }

  /** Reads body bytes of the request and adds them, framed anew, to `pieces`. */
  #readBody(chunk: Buffer, from: number, pieces: Buffer[]): number {
    const body = this.#requestBody;
    if (body === undefined || body.done || from === chunk.length) return from;
    const content: Buffer[] = [];
    const at = body.read(chunk, from, content);
    if (body.fault !== undefined) this.fail(bodyFault(body.fault));
    else if (body.contentBytes > this.#shared.options.numbers.bodyBytesMax) this.fail(BODY_TOO_LARGE);
    if (!this.isSending) return chunk.length;
    const { bodyTimeoutMs, responseTimeoutMs } = this.#shared.options.numbers;
    this.#waitFor(body.done ? responseTimeoutMs : bodyTimeoutMs);
    if (content.length > 0 || body.done)
      pieces.push(frameContent(this.request.framing, content, body.done, forwardTrailers(body.trailers)));
    return at;
  }

  #dialTimedOut(): void {
    const node = this.#upstream?.lease.node;
    this.#upstream?.giveUp("abort");
    if (node !== undefined && this.#shared.pool.hasOther(node)) this.#tryAnother(CONNECT_TIMEOUT);
    else this.fail(CONNECT_TIMEOUT);
  }

  /** Nothing has reached a server yet: any request may go elsewhere. */
  #tryAnother(fault: Fault): void {
    this.#lastFault = fault;
    this.avoid = this.#upstream?.lease.node;
    this.#upstream = undefined;
    if (this.#dials < DIALS_MAX) this.#dispatch();
    else this.fail(fault);
  }

  /** The node went away before its answer. Bytes may have reached it: only what can be repeated is sent again (RFC 9110, 9.2.2). */
  #lost(): void {
    const node = this.#upstream?.lease.node;
    this.#upstream?.giveUp("abort");
    this.#upstream = undefined;
    if (!this.request.repeatable || this.#interims > 0 || this.#resends >= RESENDS_MAX) return this.fail(EARLY_CLOSE);
    this.#resends++;
    this.#reader.next();
    this.#lastFault = EARLY_CLOSE;
    if (!this.#isReused) this.avoid = node;
    this.#dispatch();
  }

  #interim(head: Head<StatusLine>): void {
    this.#reader.next();
    if (++this.#interims > INTERIMS_MAX) return this.fail(TOO_MANY_INTERIMS);
    if (this.request.minor === 0) return;
    const text = forwardInterim(head, listOf(head.fields, "connection"));
    if (!this.#client.write(Buffer.from(text, "latin1"))) this.#upstream?.pause();
  }

  /** The final answer's head is whole. */
  #begin(head: Head<StatusLine>, chunk: Buffer, at: number): void {
    const { minor, status } = head.start;
    const fields = framingFields(head.fields);
    const framing = responseFraming(fields, status, minor, this.request.method);
    if (framing instanceof Fault) return this.fail(framing);
    const hopByHop = listOf(head.fields, "connection");
    const toOldClient = this.request.minor === 0 && framing.kind === "chunked";
    const isAmbiguous = fields.lengths.length > 0 && fields.codings.length > 0;
    this.#phase = "relaying";
    this.#responseBody = bodyReader(framing);
    this.#responseFraming = toOldClient ? { kind: "close" } : framing;
    this.#upstreamStays = minor === 1 && framing.kind !== "close" && !isAmbiguous && !hopByHop.includes("close");
    this.#closes = this.#mustClose();
    const hasStatedLength = (this.request.method === "HEAD" || status === 304) && fields.lengths.length === 1;
    const text = forwardResponse(head, hopByHop, {
      framing: this.#responseFraming,
      closes: this.#closes,
      added: this.#stickyFields(),
      statedLength: hasStatedLength ? parseLength(fields.lengths[0]) : undefined,
      cookieName: this.#shared.options.cookie?.name,
    });
    this.#relay(Buffer.from(text, "latin1"), chunk, at);
  }

  #mustClose(): boolean {
    const { request } = this;
    if (!request.keepsAlive || !this.requestIsRead || request.handshake !== undefined) return true;
    return this.#client.isLast || this.#responseFraming.kind === "close";
  }

  #stickyFields(): string {
    const { cookie } = this.#shared.options;
    const node = this.#upstream?.lease.node;
    if (cookie === undefined || node === undefined || node === this.stickTo) return "";
    return cookieFields(cookie, node.cookie, this.#forwarded.isSecure);
  }

  #relay(head: Buffer | undefined, chunk: Buffer, from: number): void {
    const pieces: Buffer[] = [];
    const body = this.#responseBody;
    const at = body === undefined ? from : body.read(chunk, from, pieces);
    const isDone = body === undefined || body.done;
    const content =
      body === undefined || (pieces.length === 0 && !isDone)
        ? undefined
        : frameContent(this.#responseFraming, pieces, isDone, forwardTrailers(body.trailers));
    this.#waitFor(this.#shared.options.numbers.responseTimeoutMs);
    if (!this.#writeToClient(head, content)) this.#upstream?.pause();
    if (body?.fault !== undefined) this.fail(EARLY_CLOSE);
    else if (isDone) this.#finish(at < chunk.length);
  }

  #writeToClient(head: Buffer | undefined, content: Buffer | undefined): boolean {
    if (content === undefined) return head === undefined || this.#client.write(head);
    if (head === undefined) return this.#client.write(content);
    if (content.length <= GATHER_BYTES_MAX) return this.#client.write(Buffer.concat([head, content]));
    this.#client.write(head);
    return this.#client.write(content);
  }

  /** The answer is relayed. `isOverrun`: the node sent more than its answer, so nothing it says next can be trusted. */
  #finish(isOverrun: boolean): void {
    this.#phase = "over";
    const upstream = this.#upstream;
    const closes = this.#closes || !this.requestIsRead;
    const stays =
      this.#upstreamStays && this.requestIsRead && !isOverrun && !this.isBlocked && upstream?.isOpen === true;
    if (!stays) upstream?.giveUp(isOverrun || !this.requestIsRead ? "abort" : "end");
    this.#client.exchangeDone(closes, stays ? upstream : undefined);
  }

  #switch(head: Head<StatusLine>, rest: Buffer): void {
    const { handshake } = this.request;
    if (handshake === undefined || !grantsHandshake(head.fields, handshake)) return this.fail(BAD_SWITCH);
    const upstream = this.#upstream;
    const sockets = upstream?.detach();
    if (upstream === undefined || sockets === undefined) return;
    const added = this.#stickyFields();
    const hopByHop = listOf(head.fields, "connection");
    const text = forwardSwitching(head, hopByHop, added, this.#shared.options.cookie?.name);
    this.#phase = "over";
    const client = this.#client.detach();
    new Tunnel(this.#shared, {
      client: client.socket,
      upstream: sockets.socket,
      seat: client.seat,
      lease: upstream.lease,
      toClient: Buffer.concat([client.unsent, Buffer.from(text, "latin1"), rest]),
      toUpstream: Buffer.concat([sockets.unsent, client.held]),
      clientHasEnded: client.hasEnded,
    });
  }
}
