// Forwards a request's body to a node: the head as it was written, the body parsed and framed anew.
// Bytes in, bytes out; the connection owns the sockets.

import type { ByteSink } from "../net/byte-sink.ts";
import { type BodyReader, bodyReader, writeContent } from "./body.ts";
import { HttpFault } from "./faults.ts";
import type { Request } from "./request.ts";

export const BODY_TOO_LARGE = new HttpFault(413, "the body is too large");

export class RequestBody {
  fault: HttpFault | undefined;
  readonly #request: Request;
  readonly #head: Buffer;
  readonly #body: BodyReader | undefined;
  readonly #bodyBytesMax: number;

  constructor(request: Request, head: Buffer, bodyBytesMax: number) {
    this.#request = request;
    this.#head = head;
    this.#body = bodyReader(request.framing);
    this.#bodyBytesMax = bodyBytesMax;
  }

  /** The whole request, including its body, has been read. */
  get isRead(): boolean {
    return this.#body === undefined || this.#body.done;
  }

  /** Some of the body has come, so the client sends the rest too. */
  get isComing(): boolean {
    return this.#body !== undefined && this.#body.contentBytes > 0;
  }

  get headBytes(): number {
    return this.#head.length;
  }

  writeHead(output: ByteSink): void {
    output.bytes(this.#head, 0, this.#head.length);
  }

  /** Reads the body's part of the chunk; returns the offset after it. */
  read(chunk: Buffer, output: ByteSink): number {
    const body = this.#body;
    if (body === undefined || body.done) return 0;
    const places: number[] = [];
    const at = body.read(chunk, 0, places);
    if (body.fault !== undefined) this.fault = new HttpFault(400, `in the body: ${body.fault}`);
    else if (body.contentBytes > this.#bodyBytesMax) this.fault = BODY_TOO_LARGE;
    else writeContent(this.#request.framing, body, chunk, places, output);
    return at;
  }
}
