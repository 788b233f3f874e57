// Forwards a node's response to the client: checks the head and writes it anew, parses the body and
// frames it anew. Bytes in, bytes out; the connection owns the sockets.

import type { ByteSink } from "../net/byte-sink.ts";
import { type BodyReader, bodyReader, writeContent } from "./body.ts";
import { HttpFault } from "./faults.ts";
import type { Fields } from "./fields.ts";
import { forwardInterim, forwardResponse, forwardSwitching } from "./forward.ts";
import { type Framing, framingFields, NONE, parseLength, responseFraming } from "./framing.ts";
import { type HeadLimits, HeadReader, RESPONSE, type StatusLine } from "./head.ts";
import type { Request } from "./request.ts";
import { grantsHandshake } from "./websocket.ts";

const INTERIMS_MAX = 32;
const NOTHING = Buffer.alloc(0);

const BAD_SWITCH = new HttpFault(502, "the node switched protocols without a valid handshake");
const BAD_BODY = new HttpFault(502, "the body of the answer is malformed");
const TOO_MANY_INTERIMS = new HttpFault(502, "the node sent too many interim answers");

/** What the exchange decides about a response when its head is complete. */
export type AnswerTerms = {
  readonly cookieName: string | undefined;
  /** The time now, as a Date tells it. */
  readonly date: string;
  /** Field lines that give the client its sticky cookie. */
  stickyField(): string;
  /** The client's connection ends after this answer. `nodeStays`: the node's does not. */
  mustClose(nodeStays: boolean): boolean;
};

export class Response {
  /**
   * `head`: no final head has arrived. `switched`: the handshake is accepted, and the following
   * bytes are not HTTP.
   */
  phase: "head" | "body" | "done" | "switched" = "head";
  fault: HttpFault | undefined;
  /** The node sent bytes after its response. */
  isOverrun = false;
  interims = 0;
  /** The status of the final response, or 101; 0 before. */
  status = 0;
  /** The response contains `Connection: close`. */
  closes = false;
  /** What came behind a 101. */
  switchedBytes: Buffer = NOTHING;
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

  /** Whether the end of the node's connection is the regular end of the response. */
  get endsWithConnection(): boolean {
    return this.phase === "body" && this.#body?.endsWithConnection === true;
  }

  /** Reads what the node sent; writes what the client receives. */
  read(chunk: Buffer, output: ByteSink): void {
    let at = 0;
    while (this.phase === "head" && this.fault === undefined && at < chunk.length) {
      at = this.#reader.read(chunk, at);
      this.fault = this.#reader.fault;
      if (this.#reader.start !== undefined)
        this.#head(this.#reader.start, this.#reader.fields, output);
    }
    if (this.phase === "body") at = this.#content(chunk, at, output);
    if (this.phase === "switched") {
      this.switchedBytes = chunk.subarray(at);
      output.bytes(chunk, at, chunk.length);
    } else if (this.phase === "done") this.isOverrun = at < chunk.length;
  }

  #head(start: StatusLine, fields: Fields, output: ByteSink): void {
    if (start.status >= 200) this.#final(start, fields, output);
    else if (start.status === 101) this.#switch(start, fields, output);
    else this.#interim(start, fields, output);
  }

  #switch(start: StatusLine, fields: Fields, output: ByteSink): void {
    const { handshake } = this.#request;
    if (handshake === undefined || !grantsHandshake(fields, handshake)) {
      this.fault = BAD_SWITCH;
      return;
    }
    this.phase = "switched";
    this.status = 101;
    forwardSwitching(start, fields, this.#terms.stickyField(), this.#terms.cookieName, output);
  }

  /** A 1xx is forwarded at once, except to HTTP/1.0, which does not define it (RFC 9110, 15.2). */
  #interim(start: StatusLine, fields: Fields, output: ByteSink): void {
    if (++this.interims > INTERIMS_MAX) this.fault = TOO_MANY_INTERIMS;
    else if (this.#request.minor === 1) forwardInterim(start, fields, output);
  }

  #final(start: StatusLine, fields: Fields, output: ByteSink): void {
    const { minor, status } = start;
    const request = this.#request;
    const framed = framingFields(fields);
    const framing = responseFraming(framed, status, minor, request.method);
    if (framing instanceof HttpFault) {
      this.fault = framing;
      return;
    }
    const isAmbiguous = framed.lengths.length > 0 && framed.codings.length > 0;
    this.phase = "body";
    this.status = status;
    this.#body = bodyReader(framing);
    this.#framing = request.minor === 0 && framing.kind === "chunked" ? { kind: "close" } : framing;
    this.nodeStays =
      minor === 1 &&
      framing.kind !== "close" &&
      !isAmbiguous &&
      !fields.list("connection").includes("close");
    this.closes = this.#framing.kind === "close" || this.#terms.mustClose(this.nodeStays);
    const isBodyless = request.method === "HEAD" || status === 304;
    const answering = {
      framing: this.#framing,
      closes: this.closes,
      sticky: this.#terms.stickyField(),
      statedLength:
        isBodyless && framed.lengths.length === 1 ? parseLength(framed.lengths[0]) : undefined,
      cookieName: this.#terms.cookieName,
      date: this.#terms.date,
    };
    forwardResponse(start, fields, answering, output);
  }

  #content(chunk: Buffer, from: number, output: ByteSink): number {
    const body = this.#body;
    if (body === undefined) {
      this.phase = "done";
      return from;
    }
    const places: number[] = [];
    const at = body.read(chunk, from, places);
    if (body.fault !== undefined) this.fault = BAD_BODY;
    if (body.done) this.phase = "done";
    writeContent(this.#framing, body, chunk, places, output);
    return at;
  }
}
