// Heads as they are passed on: what ends at this hop is taken out, what this hop adds is put in, framing is always written anew.

import { setsCookie, splitCookie } from "./cookie.ts";
import { Fault } from "./fault.ts";
import type { Framing } from "./framing.ts";
import type { Field, Head, StatusLine } from "./head.ts";
import type { Request } from "./request.ts";

/** What this hop knows about the client it forwards for. */
export type Hop = {
  /** Our pseudonym in Via (RFC 9110, 7.6.3). */
  readonly via: string;
  /** The client's address. */
  readonly peer: string;
  /** Whether the peer is a proxy whose forwarding fields are believed. */
  readonly trusted: boolean;
  readonly scheme: "http" | "https";
  /** Stands in for the Host that an HTTP/1.0 request left out. */
  readonly ownHost: string;
  readonly cookieName: string | undefined;
};

type Treatment = "drop" | "claim" | "cookie" | "via" | "expect";

/** What is done with the fields that are not just passed on. `claim`: what only a proxy that we trust may say. */
const REQUEST_FIELDS: ReadonlyMap<string, Treatment> = new Map<string, Treatment>([
  ["host", "drop"],
  ["content-length", "drop"],
  ["transfer-encoding", "drop"],
  ["connection", "drop"],
  ["keep-alive", "drop"],
  ["proxy-connection", "drop"],
  ["te", "drop"],
  ["upgrade", "drop"],
  ["http2-settings", "drop"],
  ["forwarded", "claim"],
  ["x-real-ip", "claim"],
  ["cookie", "cookie"],
  ["via", "via"],
  ["expect", "expect"],
]);

const treatmentOf = (key: string): Treatment | undefined =>
  REQUEST_FIELDS.get(key) ?? (key.startsWith("x-forwarded-") ? "claim" : undefined);

export type ForwardedRequest = {
  /** The head for the node. */
  readonly head: string;
  /** The sticky cookie that the client brought. */
  readonly sticky: string | undefined;
  /** The client came over TLS, to us or to a proxy that we trust. */
  readonly isSecure: boolean;
};

export function forwardRequest(request: Request, hop: Hop): ForwardedRequest | Fault {
  const { hopByHop } = request;
  const host = request.host ?? hop.ownHost;
  let head = `${request.method} ${request.target} HTTP/1.1\r\nHost: ${host}\r\n`;
  let sticky: string | undefined;
  for (const field of request.fields) {
    const { key } = field;
    if (key.includes("_") || (hopByHop.length > 0 && hopByHop.includes(key))) continue;
    const treatment = treatmentOf(key);
    if (treatment === undefined) {
      head += line(field);
    } else if (treatment === "cookie") {
      const split = splitCookie(field.value, hop.cookieName);
      sticky ??= split.sticky;
      if (split.rest !== "") head += `${field.name}: ${split.rest}\r\n`;
    } else if (treatment === "via") {
      if (passedThrough(field.value, hop.via)) return new Fault(508, "this request has been through here before");
      head += line(field);
    } else if (treatment === "expect" && request.minor === 1) {
      head += line(field);
    }
  }
  const claims = hop.trusted ? claimsIn(request.fields, hopByHop) : NO_CLAIMS;
  const scheme = claims.scheme ?? hop.scheme;
  head += `X-Forwarded-For: ${claims.path}${hop.peer}\r\nX-Forwarded-Proto: ${scheme}\r\n`;
  head += `X-Forwarded-Host: ${claims.host ?? host}\r\n${claims.others}Via: 1.${request.minor} ${hop.via}\r\n`;
  head += framingLine(request.framing);
  if (request.handshake !== undefined) head += "Connection: Upgrade\r\nUpgrade: websocket\r\n";
  return { head: `${head}\r\n`, sticky, isSecure: scheme === "https" };
}

/** What a trusted proxy said about the client; `path`: the addresses before ours in X-Forwarded-For. */
type Claims = { path: string; scheme: string | undefined; host: string | undefined; others: string };

const NO_CLAIMS: Claims = { path: "", scheme: undefined, host: undefined, others: "" };

function claimsIn(fields: readonly Field[], hopByHop: readonly string[]): Claims {
  const claims = { ...NO_CLAIMS };
  for (const field of fields) {
    const { key, value } = field;
    if (key.includes("_") || treatmentOf(key) !== "claim" || hopByHop.includes(key)) continue;
    if (key === "x-forwarded-for") claims.path += `${value}, `;
    else if (key === "x-forwarded-proto") claims.scheme = value;
    else if (key === "x-forwarded-host") claims.host = value;
    else claims.others += line(field);
  }
  return claims;
}

const line = ({ name, value }: Field): string => `${name}: ${value}\r\n`;

const passedThrough = (value: string, via: string): boolean =>
  value.includes(via) && value.split(",").some((hop) => hop.trim().split(/[\t ]+/)[1] === via);

function framingLine(framing: Framing): string {
  if (framing.kind === "length") return `Content-Length: ${framing.bytes}\r\n`;
  return framing.kind === "chunked" ? "Transfer-Encoding: chunked\r\n" : "";
}

const RESPONSE_DROPS: ReadonlySet<string> = new Set([
  "content-length",
  "transfer-encoding",
  "connection",
  "keep-alive",
  "proxy-connection",
  "te",
  "upgrade",
]);

/** How an answer is passed on to the client. */
export type Answering = {
  readonly framing: Framing;
  /** Tells the client that this connection ends after the answer. */
  readonly closes: boolean;
  /** Whole field lines that this hop adds. */
  readonly added: string;
  /** Content-Length where it says what the body would have been (to HEAD, and in a 304). */
  readonly statedLength: number | undefined;
  readonly cookieName: string | undefined;
};

export function forwardResponse(head: Head<StatusLine>, hopByHop: readonly string[], answering: Answering): string {
  let text = statusLine(head.start) + endToEnd(head.fields, hopByHop, answering.cookieName) + answering.added;
  text += framingLine(answering.framing);
  if (answering.statedLength !== undefined) text += `Content-Length: ${answering.statedLength}\r\n`;
  return `${text}${answering.closes ? "Connection: close\r\n" : ""}\r\n`;
}

/** A 1xx on its way to the client (RFC 9110, 15.2). */
export const forwardInterim = (head: Head<StatusLine>, hopByHop: readonly string[]): string =>
  `${statusLine(head.start)}${endToEnd(head.fields, hopByHop, undefined)}\r\n`;

/** The 101 of a granted handshake. */
export const forwardSwitching = (
  head: Head<StatusLine>,
  hopByHop: readonly string[],
  added: string,
  cookieName: string | undefined,
): string =>
  `${statusLine(head.start)}Connection: Upgrade\r\nUpgrade: websocket\r\n${endToEnd(head.fields, hopByHop, cookieName)}${added}\r\n`;

const statusLine = ({ status, reason }: StatusLine): string => `HTTP/1.1 ${status} ${reason}\r\n`;

function endToEnd(fields: readonly Field[], hopByHop: readonly string[], cookieName: string | undefined): string {
  let text = "";
  for (const field of fields) {
    const { key } = field;
    if (RESPONSE_DROPS.has(key) || (hopByHop.length > 0 && hopByHop.includes(key))) continue;
    if (cookieName !== undefined && key === "set-cookie" && setsCookie(field.value, cookieName)) continue;
    text += line(field);
  }
  return text;
}

// What routes, frames or authorises a message must come before its content (RFC 9110, 6.5.1).
const TRAILER_DROPS: ReadonlySet<string> = new Set([
  "content-length",
  "transfer-encoding",
  "host",
  "connection",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "upgrade",
  "authorization",
  "proxy-authorization",
  "proxy-authenticate",
  "www-authenticate",
  "cookie",
  "set-cookie",
  "expect",
  "range",
  "max-forwards",
  "cache-control",
  "content-encoding",
  "content-type",
  "content-range",
  "via",
  "forwarded",
  "x-real-ip",
  "location",
]);

/** The trailers that may pass, as lines. */
export function forwardTrailers(trailers: readonly Field[]): string {
  let text = "";
  for (const field of trailers) {
    const { key } = field;
    if (!key.includes("_") && !TRAILER_DROPS.has(key) && !key.startsWith("x-forwarded-")) text += line(field);
  }
  return text;
}
