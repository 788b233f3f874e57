// Interprets a request head: its target, host, framing and options, or the fault of a request that
// two parsers could read differently.

import { HttpFault } from "./faults.ts";
import type { Fields } from "./fields.ts";
import { type Framing, framingFields, parseLength, requestFraming } from "./framing.ts";
import type { RequestLine } from "./head.ts";
import { handshakeKey } from "./websocket.ts";

export type Request = {
  readonly method: string;
  /** In origin form, or `*`. */
  readonly target: string;
  readonly minor: 0 | 1;
  /** Undefined: it names none, which HTTP/1.0 may, and an empty Host says. */
  readonly host: string | undefined;
  readonly hasBody: boolean;
  /** What Max-Forwards says, where it means something: in OPTIONS (RFC 9110, 7.6.2). */
  readonly maxForwards: number | undefined;
  readonly framing: Framing;
  /** The client may wait for a 100 before it sends its body. */
  readonly expectsContinue: boolean;
  /** The client will send another request on this connection, if it may. */
  readonly keepsAlive: boolean;
  /** The elements of Connection, in lower case: options, and names of hop-by-hop fields. */
  readonly hopByHop: readonly string[];
  /** The key, if the request is a WebSocket handshake. */
  readonly handshake: string | undefined;
  /** May be sent again even if a server may have received it (RFC 9110, 9.2.2). */
  readonly repeatable: boolean;
};

export const ALLOW = "Allow: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS\r\n";
const IDEMPOTENT = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE"]);
const HOST = /^(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._~%-]{1,255})(?::(\d{0,5}))?$/;
const ABSOLUTE_FORM = /^https?:\/\/([^/?]*)(.*)$/i;

export function interpretRequest(start: RequestLine, fields: Fields): Request | HttpFault {
  const { method, minor } = start;
  if (method === "CONNECT" || method === "TRACE")
    return new HttpFault(405, `${method} is not served here`, ALLOW);
  const named = hostOf(fields, minor);
  if (named instanceof HttpFault) return named;
  const located = originForm(start);
  if (located instanceof HttpFault) return located;
  const maxForwards = method === "OPTIONS" ? maxForwardsOf(fields) : undefined;
  if (maxForwards instanceof HttpFault) return maxForwards;
  const framing = requestFraming(framingFields(fields), minor);
  if (framing instanceof HttpFault) return framing;
  const expectations = minor === 1 ? fields.list("expect") : [];
  if (expectations.some((expectation) => expectation !== "100-continue"))
    return new HttpFault(417, "the only expectation met here is 100-continue");
  const connection = fields.list("connection");
  const hasBody = framing.kind === "chunked" || (framing.kind === "length" && framing.bytes > 0);
  const upgrades = method === "GET" && minor === 1 && !hasBody && connection.includes("upgrade");
  const handshake =
    upgrades && fields.list("upgrade").includes("websocket") ? handshakeKey(fields) : undefined;
  if (handshake instanceof HttpFault) return handshake;
  return {
    method,
    target: located.target,
    minor,
    host: located.host ?? named,
    hasBody,
    maxForwards,
    framing,
    expectsContinue: expectations.length > 0,
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
  if (hosts[0] === "") return undefined;
  return isHost(hosts[0]) ? hosts[0] : new HttpFault(400, "Host is not a host");
}

function isHost(text: string): boolean {
  const match = HOST.exec(text);
  return match !== null && Number(match[1] ?? 0) <= 65535;
}

/** `host`: the one in an absolute form. */
type Located = { readonly target: string; readonly host?: string };

/**
 * The target as nodes get it. An absolute form is accepted, its host replaces what Host says (RFC
 * 9112, 3.2.2), and it never chooses where the request goes.
 */
function originForm({ method, target }: RequestLine): Located | HttpFault {
  if (target.startsWith("/")) return { target };
  if (target === "*")
    return method === "OPTIONS"
      ? { target }
      : new HttpFault(400, "* is a target for OPTIONS alone");
  const match = ABSOLUTE_FORM.exec(target);
  if (match === null) return new HttpFault(400, "the target is neither a path nor an http URL");
  const [, host, path] = match;
  if (!isHost(host)) return new HttpFault(400, "the target names no host");
  if (path === "") return { target: method === "OPTIONS" ? "*" : "/", host };
  return { target: path.startsWith("/") ? path : `/${path}`, host };
}

function maxForwardsOf(fields: Fields): number | undefined | HttpFault {
  const values = fields.values("max-forwards");
  if (values.length === 0) return undefined;
  const value = values.length === 1 ? parseLength(values[0]) : undefined;
  return value ?? new HttpFault(400, "Max-Forwards is not one whole number");
}
