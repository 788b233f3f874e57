// Writes forwarded heads: removes hop-by-hop fields, adds this hop's fields, and always writes the
// framing anew.

import type { ByteSink } from "../net/byte-sink.ts";
import { clientAddress, type Trust } from "../net/trust.ts";
import { privateCacheControl, setsCookie, splitCookie } from "./cookie.ts";
import { HttpFault } from "./faults.ts";
import type { Fields, Key } from "./fields.ts";
import type { Framing } from "./framing.ts";
import type { StatusLine } from "./head.ts";
import type { Request } from "./request.ts";

/** The client of a request, and this hop. */
export type Hop = {
  /** This lb's pseudonym in Via (RFC 9110, 7.6.3). */
  readonly via: string;
  /** The address of whoever connected. */
  readonly peer: string;
  /** Whose forwarding fields are believed; undefined: not even the peer's. */
  readonly trust: Trust | undefined;
  readonly scheme: "http" | "https";
  /** The Host for an HTTP/1.0 request without one. */
  readonly ownHost: string;
  readonly cookieName: string | undefined;
};

/**
 * What is done with a field that is not just passed on. `claim`: what only a proxy that we trust
 * may say.
 */
type Treatment = "drop" | "claim" | "cookie" | "expect" | "forwards" | "pass";

function requestTreatment(key: Key | undefined): Treatment {
  switch (key) {
    case "_":
    case "host":
    case "content-length":
    case "transfer-encoding":
    case "connection":
    case "keep-alive":
    case "proxy-connection":
    case "te":
    case "upgrade":
    case "http2-settings":
      return "drop";
    case "forwarded":
    case "x-real-ip":
    case "x-forwarded-for":
    case "x-forwarded-proto":
    case "x-forwarded-host":
    case "x-forwarded-*":
      return "claim";
    case "cookie":
      return "cookie";
    case "expect":
      return "expect";
    case "max-forwards":
      return "forwards";
    default:
      return "pass";
  }
}

export type ForwardedRequest = {
  /** The value of the client's sticky cookie. */
  readonly sticky: string | undefined;
  /** The client's address, as far as whoever brings it is believed. */
  readonly client: string;
  /** The client came over TLS, to us or to a proxy that we trust. */
  readonly isSecure: boolean;
};

/** Writes the head for the node. */
export function forwardRequest(
  request: Request,
  fields: Fields,
  hop: Hop,
  output: ByteSink,
): ForwardedRequest | HttpFault {
  const named = fieldsNamedBy(request.hopByHop);
  const isNamed = (line: number) => named?.has(fields.name(line)) === true;
  if (fields.values("via").some((value) => passedThrough(value, hop.via)))
    return new HttpFault(508, "this request has been through here before");
  const host = request.host ?? hop.ownHost;
  output.text(`${request.method} ${request.target} HTTP/1.1\r\nHost: ${host}\r\n`);
  fields.write((line) => {
    const treatment = requestTreatment(fields.keys[line]);
    return (
      (treatment === "pass" ||
        (treatment === "expect" && request.minor === 1) ||
        (treatment === "forwards" && request.maxForwards === undefined)) &&
      !isNamed(line)
    );
  }, output);
  if (request.maxForwards !== undefined)
    output.text(`Max-Forwards: ${request.maxForwards - 1}\r\n`);
  const sticky = writeCookies(fields, hop.cookieName, isNamed, output);
  const claims = hop.trust === undefined ? NO_CLAIMS : claimsIn(fields, isNamed);
  const scheme = claims.scheme ?? hop.scheme;
  const client =
    hop.trust === undefined ? hop.peer : clientAddress(claims.path, hop.peer, hop.trust);
  const path = claims.path === "" ? hop.peer : `${claims.path}, ${hop.peer}`;
  const upgrade =
    request.handshake === undefined ? "" : "Connection: Upgrade\r\nUpgrade: websocket\r\n";
  output.text(
    `X-Forwarded-For: ${path}\r\nX-Real-IP: ${client}\r\nX-Forwarded-Proto: ${scheme}\r\n` +
      `X-Forwarded-Host: ${claims.host ?? host}\r\n${claims.others}` +
      `Via: 1.${request.minor} ${hop.via}\r\n${framingLine(request.framing)}${upgrade}\r\n`,
  );
  return { sticky, client, isSecure: scheme === "https" };
}

/** The field names in Connection; undefined: only options such as `close`. */
function fieldsNamedBy(connection: readonly string[]): ReadonlySet<string> | undefined {
  for (const option of connection)
    if (option !== "close" && option !== "keep-alive" && option !== "upgrade")
      return new Set(connection);
  return undefined;
}

/** Writes the other cookies; returns the sticky one. */
function writeCookies(
  fields: Fields,
  name: string | undefined,
  isNamed: (line: number) => boolean,
  output: ByteSink,
): string | undefined {
  let sticky: string | undefined;
  for (let line = 0; line < fields.count; line++) {
    if (fields.keys[line] !== "cookie" || isNamed(line)) continue;
    const split = splitCookie(fields.value(line), name);
    sticky ??= split.sticky;
    if (split.rest !== "") output.text(`Cookie: ${split.rest}\r\n`);
  }
  return sticky;
}

const passedThrough = (value: string, via: string): boolean =>
  value.includes(via) && value.split(",").some((hop) => hop.trim().split(/[\t ]+/)[1] === via);

/** The client according to a trusted proxy; `path`: the earlier addresses in X-Forwarded-For. */
type Claims = {
  path: string;
  scheme: string | undefined;
  host: string | undefined;
  others: string;
};

const NO_CLAIMS: Claims = { path: "", scheme: undefined, host: undefined, others: "" };

function claimsIn(fields: Fields, isNamed: (line: number) => boolean): Claims {
  const claims = { ...NO_CLAIMS };
  for (let line = 0; line < fields.count; line++) {
    const key = fields.keys[line];
    if (requestTreatment(key) !== "claim" || isNamed(line)) continue;
    const value = fields.value(line);
    if (key === "x-real-ip") continue;
    if (key === "x-forwarded-for") claims.path += claims.path === "" ? value : `, ${value}`;
    else if (key === "x-forwarded-proto") claims.scheme = value;
    else if (key === "x-forwarded-host") claims.host = value;
    else claims.others += `${fields.name(line)}: ${value}\r\n`;
  }
  return claims;
}

function framingLine(framing: Framing): string {
  if (framing.kind === "length") return `Content-Length: ${framing.bytes}\r\n`;
  return framing.kind === "chunked" ? "Transfer-Encoding: chunked\r\n" : "";
}

/** How a response is forwarded to the client. */
export type Answering = {
  readonly framing: Framing;
  /** Adds `Connection: close`. */
  readonly closes: boolean;
  /** The field line that gives the client its sticky cookie; empty: it is given none. */
  readonly sticky: string;
  /** A Content-Length that states the size of an omitted body (to HEAD, and in a 304). */
  readonly statedLength: number | undefined;
  readonly cookieName: string | undefined;
  /** The time now, for an answer that does not tell when it was made (RFC 9110, 6.6.1). */
  readonly date: string;
};

export function forwardResponse(
  start: StatusLine,
  fields: Fields,
  answering: Answering,
  output: ByteSink,
): void {
  output.text(statusLine(start));
  const { statedLength, closes, sticky, framing, date } = answering;
  writeEndToEnd(fields, answering.cookieName, sticky !== "", output);
  const isDated = fields.has("date") && !fields.list("connection").includes("date");
  const stated = statedLength === undefined ? "" : `Content-Length: ${statedLength}\r\n`;
  output.text(
    `${isDated ? "" : `Date: ${date}\r\n`}${cookieLines(fields, sticky)}` +
      `${framingLine(framing)}${stated}` +
      `${start.status === 426 ? upgradeOffered(fields, closes) : connectionLine(closes)}\r\n`,
  );
}

const connectionLine = (closes: boolean): string => (closes ? "Connection: close\r\n" : "");

/** A 426 is nothing without what to upgrade to (RFC 9110, 15.5.22). */
function upgradeOffered(fields: Fields, closes: boolean): string {
  const offered = fields.values("upgrade").join(", ");
  if (offered === "") return connectionLine(closes);
  return `Upgrade: ${offered}\r\nConnection: ${closes ? "close, " : ""}Upgrade\r\n`;
}

/** A 1xx on its way to the client (RFC 9110, 15.2). */
export function forwardInterim(start: StatusLine, fields: Fields, output: ByteSink): void {
  output.text(statusLine(start));
  writeEndToEnd(fields, undefined, false, output);
  output.text("\r\n");
}

/** Forwards the 101 of an accepted handshake. */
export function forwardSwitching(
  start: StatusLine,
  fields: Fields,
  sticky: string,
  cookieName: string | undefined,
  output: ByteSink,
): void {
  output.text(`${statusLine(start)}Connection: Upgrade\r\nUpgrade: websocket\r\n`);
  writeEndToEnd(fields, cookieName, sticky !== "", output);
  output.text(`${cookieLines(fields, sticky)}\r\n`);
}

const statusLine = ({ status, reason }: StatusLine): string => `HTTP/1.1 ${status} ${reason}\r\n`;

const cookieLines = (fields: Fields, sticky: string): string =>
  sticky === "" ? "" : sticky + privateCacheControl(fields.values("cache-control"));

/** Writes the end-to-end fields of a response. `givesCookie`: Cache-Control is written anew. */
function writeEndToEnd(
  fields: Fields,
  cookieName: string | undefined,
  givesCookie: boolean,
  output: ByteSink,
): void {
  const named = fieldsNamedBy(fields.list("connection"));
  fields.write((line) => {
    switch (fields.keys[line]) {
      case "content-length":
      case "transfer-encoding":
      case "connection":
      case "keep-alive":
      case "proxy-connection":
      case "te":
      case "upgrade":
        return false;
      case "cache-control":
        if (givesCookie) return false;
        break;
      case "set-cookie":
        if (cookieName !== undefined && setsCookie(fields.value(line), cookieName)) return false;
    }
    return named === undefined || !named.has(fields.name(line));
  }, output);
}
