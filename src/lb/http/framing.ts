// The length of a message body (RFC 9112, 6), determined strictly from the fields, so that no other
// parser can read it differently.

import { HttpFault } from "./faults.ts";
import type { Fields } from "./fields.ts";

/** `none`: no body. `close`: the body of the response ends with the connection. */
export type Framing =
  | { readonly kind: "none" }
  | { readonly kind: "length"; readonly bytes: number }
  | { readonly kind: "chunked" }
  | { readonly kind: "close" };

export const NONE: Framing = { kind: "none" };
const CHUNKED: Framing = { kind: "chunked" };
const CLOSE: Framing = { kind: "close" };

/** The values of the two framing fields, one entry per field line. */
export type FramingFields = {
  readonly lengths: readonly string[];
  readonly codings: readonly string[];
};

export const framingFields = (fields: Fields): FramingFields => ({
  lengths: fields.values("content-length"),
  codings: fields.values("transfer-encoding"),
});

/**
 * Digits only, up to the largest safe integer; `002` is legal. Never parseInt: it accepts `2 2`,
 * `0x2` and `2_0`.
 */
export function parseLength(value: string): number | undefined {
  if (!/^\d+$/.test(value)) return undefined;
  const bytes = Number(value);
  return Number.isSafeInteger(bytes) ? bytes : undefined;
}

export function requestFraming(
  { lengths, codings }: FramingFields,
  minor: 0 | 1,
): Framing | HttpFault {
  if (codings.length > 0) {
    if (minor === 0) return new HttpFault(400, "Transfer-Encoding in HTTP/1.0");
    if (lengths.length > 0) return new HttpFault(400, "both Content-Length and Transfer-Encoding");
    return requestCoding(codings);
  }
  if (lengths.length === 0) return NONE;
  const bytes = lengths.length === 1 ? parseLength(lengths[0]) : undefined;
  return bytes === undefined
    ? new HttpFault(400, "Content-Length is not one whole number")
    : { kind: "length", bytes };
}

function requestCoding(codings: readonly string[]): Framing | HttpFault {
  const coding = codings[0].toLowerCase();
  if (codings.length > 1) return new HttpFault(400, "Transfer-Encoding twice");
  if (coding === "chunked") return CHUNKED;
  if (/^(?:gzip|x-gzip|deflate|compress|x-compress)[\t ]*,[\t ]*chunked$/.test(coding))
    return new HttpFault(501, "the only transfer coding spoken here is chunked");
  return new HttpFault(400, "Transfer-Encoding is not chunked");
}

/**
 * The framing of a response to `method`. With both fields present, chunked applies (RFC 9112, 6.3).
 */
export function responseFraming(
  { lengths, codings }: FramingFields,
  status: number,
  minor: 0 | 1,
  method: string,
): Framing | HttpFault {
  if (status < 200 || status === 204 || status === 304 || method === "HEAD") return NONE;
  if (codings.length > 0) {
    if (minor === 1 && codings.length === 1 && codings[0].toLowerCase() === "chunked")
      return CHUNKED;
    return new HttpFault(502, "the transfer coding of the answer is not chunked");
  }
  if (lengths.length === 0) return CLOSE;
  const bytes = lengths.length === 1 ? parseLength(lengths[0]) : undefined;
  return bytes === undefined
    ? new HttpFault(502, "the Content-Length of the answer is not one whole number")
    : { kind: "length", bytes };
}
