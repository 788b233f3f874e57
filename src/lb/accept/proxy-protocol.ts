// Parses the PROXY protocol, versions 1 and 2 (HAProxy's specification): the header in which a TCP
// proxy names its client.

import { isIPv6 } from "node:net";

/** The longest header of version 1 (2.1), including its CRLF. */
const V1_BYTES_MAX = 107;
/** Version 2 allows 64 KiB; proxies use a few hundred bytes. */
const V2_BYTES_MAX = 4096;

const V1_SIGNATURE = Buffer.from("PROXY ");
const V2_SIGNATURE = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");
const V2_FIXED_BYTES = 16;
const PP2_TYPE_SSL = 0x20;
const PP2_CLIENT_SSL = 0x01;

export type ProxyHeader = {
  /** The length of the header; the client's bytes follow. */
  readonly bytes: number;
  /**
   * The client's address; undefined: the proxy names none, because the connection is its own or the
   * client is unknown.
   */
  readonly address: string | undefined;
  /** The client used TLS to the proxy. */
  readonly isSecure: boolean;
};

/** Parses the header at the start of a connection from the bytes so far. */
export function readProxyHeader(bytes: Buffer): ProxyHeader | "incomplete" | "invalid" {
  if (startsLike(bytes, V2_SIGNATURE)) return readV2(bytes);
  return startsLike(bytes, V1_SIGNATURE) ? readV1(bytes) : "invalid";
}

/** Whether the bytes begin with the signature, as far as both extend. */
function startsLike(bytes: Buffer, signature: Buffer): boolean {
  const length = Math.min(bytes.length, signature.length);
  return bytes.compare(signature, 0, length, 0, length) === 0;
}

const DECIMAL = "(?:0|[1-9][0-9]{0,4})";
const V1_LINE = new RegExp(`^PROXY (TCP4|TCP6) ([^ ]+) ([^ ]+) (${DECIMAL}) (${DECIMAL})$`);
const V1_UNKNOWN = /^PROXY UNKNOWN(?: [^\r\n]*)?$/;

function readV1(bytes: Buffer): ProxyHeader | "incomplete" | "invalid" {
  const line = bytes.toString("latin1", 0, V1_BYTES_MAX);
  const end = line.indexOf("\r\n");
  if (end < 0) return bytes.length < V1_BYTES_MAX ? "incomplete" : "invalid";
  const text = line.slice(0, end);
  const header = { bytes: end + 2, address: undefined, isSecure: false };
  if (V1_UNKNOWN.test(text)) return header;
  const match = V1_LINE.exec(text);
  if (match === null || Number(match[4]) > 0xffff || Number(match[5]) > 0xffff) return "invalid";
  const canonical = match[1] === "TCP4" ? canonicalV4 : canonicalV6;
  const address = canonical(match[2]);
  return address === undefined || canonical(match[3]) === undefined
    ? "invalid"
    : { ...header, address };
}

/** Dotted decimal without leading zeros, which some parsers read as octal. */
function canonicalV4(text: string): string | undefined {
  const numbers = text.split(".");
  return numbers.length === 4 &&
    numbers.every((each) => /^(?:0|[1-9]\d{0,2})$/.test(each) && Number(each) <= 255)
    ? text
    : undefined;
}

function canonicalV6(text: string): string | undefined {
  if (!/^[0-9A-Fa-f:]+$/.test(text) || !isIPv6(text)) return undefined;
  const [before = [], after] = text.split("::").map((half) => (half === "" ? [] : half.split(":")));
  const zeros = after === undefined ? 0 : 8 - before.length - after.length;
  const groups = [...before, ...Array<string>(zeros).fill("0"), ...(after ?? [])];
  return formatV6(groups.map((group) => Number.parseInt(group, 16)));
}

/**
 * The canonical form of an address (RFC 5952), so that it is counted as one; an IPv4-mapped IPv6
 * address becomes IPv4.
 */
function formatV6(groups: readonly number[]): string {
  if (groups.slice(0, 5).every((group) => group === 0) && groups[5] === 0xffff)
    return [groups[6] >> 8, groups[6] & 0xff, groups[7] >> 8, groups[7] & 0xff].join(".");
  let [start, length] = [0, 1];
  for (let from = 0; from < 8; from++) {
    let to = from;
    while (to < 8 && groups[to] === 0) to++;
    if (to - from > length) [start, length] = [from, to - from];
  }
  const hex = (from: number, to: number) =>
    groups
      .slice(from, to)
      .map((group) => group.toString(16))
      .join(":");
  return length > 1 ? `${hex(0, start)}::${hex(start + length, 8)}` : hex(0, 8);
}

/**
 * The family and transport codes of version 2 that apply to a stream, and the length of their
 * addresses.
 */
const V2_FAMILIES: Readonly<Record<number, number>> = { 0: 0, 17: 12, 33: 36, 49: 216 };

function readV2(bytes: Buffer): ProxyHeader | "incomplete" | "invalid" {
  if (bytes.length < V2_FIXED_BYTES) return "incomplete";
  const command = bytes[12];
  const end = V2_FIXED_BYTES + bytes.readUInt16BE(14);
  if ((command !== 0x20 && command !== 0x21) || end > V2_BYTES_MAX) return "invalid";
  if (bytes.length < end) return "incomplete";
  const header = { bytes: end, address: undefined, isSecure: false };
  // LOCAL: the proxy's own connection, whatever the rest says (2.2).
  if (command === 0x20) return header;
  const family = bytes[13];
  const addressBytes = V2_FAMILIES[family];
  if (addressBytes === undefined || V2_FIXED_BYTES + addressBytes > end) return "invalid";
  if (family === 0) return header;
  const isSecure = saysTls(bytes.subarray(V2_FIXED_BYTES + addressBytes, end));
  return isSecure === undefined
    ? "invalid"
    : { bytes: end, address: v2Address(bytes, family), isSecure };
}

/** The source address, which comes first; a unix socket has none. */
function v2Address(bytes: Buffer, family: number): string | undefined {
  const source = bytes.subarray(V2_FIXED_BYTES);
  if (family === 17) return source.subarray(0, 4).join(".");
  if (family !== 33) return undefined;
  return formatV6([0, 1, 2, 3, 4, 5, 6, 7].map((group) => source.readUInt16BE(2 * group)));
}

/**
 * Whether a type-length-value says that the client used TLS (2.2.5); undefined: they are malformed.
 */
function saysTls(values: Buffer): boolean | undefined {
  let isSecure = false;
  for (let at = 0; at < values.length; ) {
    if (at + 3 > values.length) return undefined;
    const start = at + 3;
    const end = start + values.readUInt16BE(at + 1);
    if (end > values.length) return undefined;
    if (values[at] === PP2_TYPE_SSL) {
      if (end - start < 5) return undefined;
      isSecure ||= (values[start] & PP2_CLIENT_SSL) !== 0;
    }
    at = end;
  }
  return isSecure;
}
