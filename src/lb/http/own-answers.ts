// The requests that the lb answers itself, and their answers: its health, and what must not be
// forwarded further. Pure.

import { HttpFault } from "./faults.ts";
import { ALLOW, type Request } from "./request.ts";

const ALLOW_HEALTH = "Allow: GET, HEAD\r\n";

export type OwnAnswer = "health" | "options";

/**
 * Which answer of its own the lb gives to a request; undefined: it is a node's to answer. The
 * health path is the lb's with any query and any method, for nodes have one of that name.
 */
export function ownAnswer(
  { method, target, maxForwards }: Request,
  healthPath: string | undefined,
): OwnAnswer | HttpFault | undefined {
  // The final recipient is whoever it came to with none left (RFC 9110, 7.6.2).
  if (maxForwards === 0) return "options";
  if (healthPath === undefined || !isPath(target, healthPath)) return undefined;
  return method === "GET" || method === "HEAD"
    ? "health"
    : new HttpFault(405, `${method} is not served here`, ALLOW_HEALTH);
}

/** Whether the target is the path, with or without a query. */
const isPath = (target: string, path: string): boolean =>
  target.startsWith(path) && (target.length === path.length || target[path.length] === "?");

/** `closes`: the connection serves no further request. `date`: the time now. */
type Form = { readonly closes: boolean; readonly toHead: boolean; readonly date: string };

const lastLines = ({ closes, date }: Form): string =>
  `Date: ${date}\r\n${closes ? "Connection: close\r\n" : ""}\r\n`;

export function healthAnswer(isUp: boolean, form: Form): string {
  const body = isUp ? "ok\n" : "no node is up\n";
  const head =
    `HTTP/1.1 ${isUp ? "200 OK" : "503 Service Unavailable"}\r\n` +
    "Content-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n" +
    `Content-Length: ${body.length}\r\n${lastLines(form)}`;
  return form.toHead ? head : head + body;
}

export const optionsAnswer = (form: Form): string =>
  `HTTP/1.1 204 No Content\r\n${ALLOW}${lastLines(form)}`;
