// The WebSocket opening handshake as a proxy sees it (RFC 6455, 4): which requests ask for it, and which 101 truly grants it.

import { createHash } from "node:crypto";
import { Fault } from "./fault.ts";
import type { Field } from "./head.ts";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
// 16 bytes in base64 are 22 characters and two signs of padding; the last character carries 2 bits, so its other 4 are zero.
const KEY = /^[A-Za-z0-9+/]{21}[AQgw]==$/;

/** What a 101 must say in Sec-WebSocket-Accept to a client that sent `key`. */
export const acceptOf = (key: string): string =>
  createHash("sha1")
    .update(key + GUID)
    .digest("base64");

/** The elements of a list field that may be on several lines, in lower case. */
export function listOf(fields: readonly Field[], key: string): string[] {
  const elements: string[] = [];
  for (const field of fields) {
    if (field.key !== key) continue;
    for (const element of field.value.split(",")) elements.push(element.trim().toLowerCase());
  }
  return elements;
}

const valuesOf = (fields: readonly Field[], key: string): string[] =>
  fields.filter((field) => field.key === key).map((field) => field.value);

/** The key of a handshake in a request that asks to become a WebSocket; a fault when it asks wrongly. */
export function handshakeKey(fields: readonly Field[]): string | Fault {
  const versions = valuesOf(fields, "sec-websocket-version");
  if (versions.length !== 1 || versions[0] !== "13")
    return new Fault(
      426,
      "the WebSocket version spoken here is 13",
      "Sec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n",
    );
  const keys = valuesOf(fields, "sec-websocket-key");
  if (keys.length !== 1 || !KEY.test(keys[0])) return new Fault(400, "Sec-WebSocket-Key is not 16 bytes in base64");
  return keys[0];
}

/** Whether the fields of a 101 grant the handshake with `key`: the hash is verified, nothing is taken on trust. */
export function grantsHandshake(fields: readonly Field[], key: string): boolean {
  const accepts = valuesOf(fields, "sec-websocket-accept");
  const upgrades = listOf(fields, "upgrade");
  return (
    upgrades.length === 1 &&
    upgrades[0] === "websocket" &&
    listOf(fields, "connection").includes("upgrade") &&
    accepts.length === 1 &&
    accepts[0] === acceptOf(key)
  );
}
