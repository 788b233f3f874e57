// What a node answers, turned into what the client gets: the head checked and written anew, the body cut and framed anew. Bytes in,
// bytes out; the exchange owns the sockets.

import { type BodyReader, bodyReader, frameContent } from "./body.ts";
import { Fault } from "./fault.ts";
import { forwardInterim, forwardResponse, forwardTrailers } from "./forward.ts";
import { type Framing, framingFields, NONE, parseLength, responseFraming } from "./framing.ts";
import { type Head, type HeadLimits, HeadReader, RESPONSE, type StatusLine } from "./head.ts";
import type { Request } from "./request.ts";
import { grantsHandshake, listOf } from "./websocket.ts";

const INTERIMS_MAX = 32;

const BAD_SWITCH = new Fault(502, "the node switched protocols without a valid handshake");
const BAD_BODY = new Fault(502, "the body of the answer is malformed");
const TOO_MANY_INTERIMS = new Fault(502, "the node sent too many interim answers");

/** What the exchange decides about an answer, asked when its head is whole. */
export type AnswerTerms = {
  readonly cookieName: string | undefined;
  /** Field lines that give the client its sticky cookie. */
  stickyFields(): string;
  /** The client's connection ends after this answer, whatever the node says. */
  mustClose(): boolean;
};

export class Answer {
  /** `head`: nothing final has come. `switching`: a granted handshake; `switchHead` is its head, and `rest` what follows it. */
  phase: "head" | "body" | "switching" | "done" = "head";
  fault: Fault | undefined;
  /** What came after the end of the answer, or of the 101. */
  rest: Buffer | undefined;
  switchHead: Head<StatusLine> | undefined;
  interims = 0;
  /** The client is told that its connection ends. */
  closes = false;
  /** The node's connection may serve another request. */
  nodeStays = false;
  readonly #request: Request;
  readonly #terms: AnswerTerms;
  readonly #reader: HeadReader<StatusLine>;
  #body: BodyReader | undefined;
  #framing: Framing = NONE;

  constructor(request: Request, limits: HeadLimits, terms: AnswerTerms) {
    this.#request = request;
    this.#terms = terms;
    this.#reader = new HeadReader(RESPONSE, limits);
  }

  /** Whether the end of the node's connection ends the answer as it should. */
  get endsWithConnection(): boolean {
    return this.phase === "body" && this.#body?.endsWithConnection === true;
  }

  /** Takes what the node sent; returns what the client gets for it. */
  read(chunk: Buffer): Buffer[] {
    const out: Buffer[] = [];
    let at = 0;
    while (this.phase === "head" && this.fault === undefined && at < chunk.length) {
      at = this.#reader.read(chunk, at);
      this.fault = this.#reader.fault;
      if (this.#reader.head !== undefined) this.#head(this.#reader.head, out);
    }
    if (this.phase === "body") at = this.#content(chunk, at, out);
    if (at < chunk.length) this.rest = chunk.subarray(at);
    return out;
  }

  #head(head: Head<StatusLine>, out: Buffer[]): void {
    const { status } = head.start;
    if (status >= 200) this.#final(head, out);
    else if (status === 101) this.#switch(head);
    else this.#interim(head, out);
  }

  #switch(head: Head<StatusLine>): void {
    const { handshake } = this.#request;
    if (handshake === undefined || !grantsHandshake(head.fields, handshake)) this.fault = BAD_SWITCH;
    else {
      this.phase = "switching";
      this.switchHead = head;
    }
  }

  /** A 1xx is passed on at once, but not to HTTP/1.0, which does not know it (RFC 9110, 15.2). */
  #interim(head: Head<StatusLine>, out: Buffer[]): void {
    this.#reader.next();
    if (++this.interims > INTERIMS_MAX) this.fault = TOO_MANY_INTERIMS;
    else if (this.#request.minor === 1)
      out.push(Buffer.from(forwardInterim(head, listOf(head.fields, "connection")), "latin1"));
  }

  #final(head: Head<StatusLine>, out: Buffer[]): void {
    const { minor, status } = head.start;
    const request = this.#request;
    const fields = framingFields(head.fields);
    const framing = responseFraming(fields, status, minor, request.method);
    if (framing instanceof Fault) {
      this.fault = framing;
      return;
    }
    const hopByHop = listOf(head.fields, "connection");
    const isAmbiguous = fields.lengths.length > 0 && fields.codings.length > 0;
    this.phase = "body";
    this.#body = bodyReader(framing);
    this.#framing = request.minor === 0 && framing.kind === "chunked" ? { kind: "close" } : framing;
    this.nodeStays = minor === 1 && framing.kind !== "close" && !isAmbiguous && !hopByHop.includes("close");
    this.closes = this.#framing.kind === "close" || this.#terms.mustClose();
    const isBodyless = request.method === "HEAD" || status === 304;
    const text = forwardResponse(head, hopByHop, {
      framing: this.#framing,
      closes: this.closes,
      added: this.#terms.stickyFields(),
      statedLength: isBodyless && fields.lengths.length === 1 ? parseLength(fields.lengths[0]) : undefined,
      cookieName: this.#terms.cookieName,
    });
    out.push(Buffer.from(text, "latin1"));
  }

  #content(chunk: Buffer, from: number, out: Buffer[]): number {
    const body = this.#body;
    if (body === undefined) {
      this.phase = "done";
      return from;
    }
    const pieces: Buffer[] = [];
    const at = body.read(chunk, from, pieces);
    if (body.fault !== undefined) this.fault = BAD_BODY;
    if (body.done) this.phase = "done";
    if (pieces.length > 0 || body.done)
      out.push(frameContent(this.#framing, pieces, body.done, forwardTrailers(body.trailers)));
    return at;
  }
}
