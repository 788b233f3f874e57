// The lb's own responses to requests that it cannot serve: the faults, their texts, and the bytes
// of the responses.

import type { TerminationCause } from "./termination.ts";

const REASONS: Record<number, string> = {
  400: "Bad Request",
  405: "Method Not Allowed",
  408: "Request Timeout",
  413: "Content Too Large",
  414: "URI Too Long",
  417: "Expectation Failed",
  426: "Upgrade Required",
  429: "Too Many Requests",
  431: "Request Header Fields Too Large",
  501: "Not Implemented",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
  505: "HTTP Version Not Supported",
  508: "Loop Detected",
};

/** The default cause of a fault with this status. */
const FAILURES: Record<number, TerminationCause> = {
  408: "clientTimeout",
  429: "limited",
  502: "badAnswer",
  504: "responseTimeout",
};

/**
 * Why a message is refused: the status of the response, and a sentence for the sender. `fields` are
 * added to the response.
 */
export class HttpFault {
  readonly status: number;
  readonly message: string;
  readonly fields: string;
  /** The cause for counters and logs. */
  readonly cause: TerminationCause;

  constructor(
    status: number,
    message: string,
    fields = "",
    failure: TerminationCause = FAILURES[status] ?? "badRequest",
  ) {
    this.status = status;
    this.message = message;
    this.fields = fields;
    this.cause = failure;
  }
}

/** No node can take the request now; `Retry-After` tells when to try again. */
export const unavailable = (message: string, failure: TerminationCause): HttpFault =>
  new HttpFault(503, message, "Retry-After: 1\r\n", failure);

/**
 * The whole answer. It announces the close that follows; to HEAD it has no body (RFC 9110, 9.3.2).
 * `date`: the time now.
 */
export function faultAnswer(fault: HttpFault, toHead: boolean, date: string): string {
  const reason = REASONS[fault.status] ?? "Error";
  const body = `${fault.status} ${reason}: ${fault.message}\n`;
  const head =
    `HTTP/1.1 ${fault.status} ${reason}\r\nDate: ${date}\r\n` +
    "Content-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n" +
    `Content-Length: ${Buffer.byteLength(body)}\r\n${fault.fields}` +
    `Connection: close${fault.status === 426 ? ", Upgrade" : ""}\r\n\r\n`;
  return toHead ? head : head + body;
}
