// Interprets a request head: its target, host, framing and options, or the fault of a request that
// two parsers could read differently.

import { HttpFault } from "./faults.ts";
import type { Fields } from "./fields.ts";
import { type Framing, framingFields, requestFraming } from "./framing.ts";
import type { RequestLine } from "./head.ts";
import { handshakeKey } from "./websocket.ts";

export type Request = {
  readonly method: string;
  /** In origin form, or `*`. */
  readonly target: string;
  readonly minor: 0 | 1;
  /** Undefined only in HTTP/1.0. */
  readonly host: string | undefined;
  readonly framing: Framing;
  /** The client may send another request on this connection. */
  readonly keepsAlive: boolean;
  /** The elements of Connection, in lower case: options, and names of hop-by-hop fields. */
  readonly hopByHop: readonly string[];
  /** The key, if the request is a WebSocket handshake. */
  readonly handshake: string | undefined;
  /** May be sent again even if a server may have received it (RFC 9110, 9.2.2). */
  readonly repeatable: boolean;
};

const ALLOW = "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n";
const IDEMPOTENT = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]);
const HOST = /^(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._~%-]{1,255})(?::(\d{0,5}))?$/;
const ABSOLUTE_FORM = /^https?:\/\/([^/?]*)(.*)$/i;

export function interpretRequest(start: RequestLine, fields: Fields): Request | HttpFault {
  const { method, minor } = start;
  if (method === "CONNECT" || method === "TRACE")
    return new HttpFault(405, `${method} is not served here`, ALLOW);
  const host = hostOf(fields, minor);
  if (host instanceof HttpFault) return host;
  const target = originForm(start, host);
  if (target instanceof HttpFault) return target;
  const framing = requestFraming(framingFields(fields), minor);
  if (framing instanceof HttpFault) return framing;
  const unexpected =
    minor === 1 && fields.list("expect").some((expectation) => expectation !== "100-continue");
  if (unexpected) return new HttpFault(417, "the only expectation met here is 100-continue");
  const connection = fields.list("connection");
  const hasBody = framing.kind === "chunked" || (framing.kind === "length" && framing.bytes > 0);
  const upgrades = method === "GET" && minor === 1 && !hasBody && connection.includes("upgrade");
  const handshake =
    upgrades && fields.list("upgrade").includes("websocket") ? handshakeKey(fields) : undefined;
  if (handshake instanceof HttpFault) return handshake;
  return {
    method,
    target,
    minor,
    host,
    framing,
    keepsAlive: minor === 1 && !connection.includes("close"),
    hopByHop: connection,
    handshake,
    repeatable: !hasBody && IDEMPOTENT.has(method),
  };
}

function hostOf(fields: Fields, minor: 0 | 1): string | undefined | HttpFault {
  const hosts = fields.values("host");
  if (hosts.length === 0 && minor === 0) return undefined;
  if (hosts.length !== 1) return new HttpFault(400, "there must be exactly one Host");
  return isHost(hosts[0]) ? hosts[0] : new HttpFault(400, "Host is not a host");
}

function isHost(text: string): boolean {
  const match = HOST.exec(text);
  return match !== null && Number(match[1] ?? 0) <= 65535;
}

/**
 * The target in origin form. An absolute form is accepted, but never chooses the upstream (RFC
 * 9112, 3.2.2).
 */
function originForm({ method, target }: RequestLine, host: string | undefined): string | HttpFault {
  if (target.startsWith("/")) return target;
  if (target === "*")
    return method === "OPTIONS" ? target : new HttpFault(400, "* is a target for OPTIONS alone");
  const match = ABSOLUTE_FORM.exec(target);
  if (match === null) return new HttpFault(400, "the target is neither a path nor an http URL");
  const [, authority, path] = match;
  if (!isHost(authority)) return new HttpFault(400, "the target names no host");
  if (host !== undefined && authority.toLowerCase() !== host.toLowerCase())
    return new HttpFault(400, "the target and Host disagree");
  if (path === "") return method === "OPTIONS" ? "*" : "/";
  return path.startsWith("/") ? path : `/${path}`;
}
