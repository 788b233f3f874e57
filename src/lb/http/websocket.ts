// The WebSocket opening handshake in a proxy (RFC 6455, 4): which requests ask for it, and which
// 101 accepts it.

import { createHash } from "node:crypto";
import { HttpFault } from "./faults.ts";
import type { Fields } from "./fields.ts";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
// 16 bytes in base64 are 22 characters and two padding characters; the last character carries 2
// bits, so its other 4 are zero.
const KEY = /^[A-Za-z0-9+/]{21}[AQgw]==$/;

/** The required Sec-WebSocket-Accept for `key`. */
export const acceptOf = (key: string): string =>
  createHash("sha1")
    .update(key + GUID)
    .digest("base64");

/** The key of a handshake request, or the fault of a malformed one. */
export function handshakeKey(fields: Fields): string | HttpFault {
  const versions = fields.values("sec-websocket-version");
  if (versions.length !== 1 || versions[0] !== "13")
    return new HttpFault(
      426,
      "the WebSocket version spoken here is 13",
      "Sec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n",
    );
  const keys = fields.values("sec-websocket-key");
  if (keys.length !== 1 || !KEY.test(keys[0]))
    return new HttpFault(400, "Sec-WebSocket-Key is not 16 bytes in base64");
  return keys[0];
}

/** Whether the fields of a 101 accept the handshake with `key`; this verifies the hash. */
export function grantsHandshake(fields: Fields, key: string): boolean {
  const accepts = fields.values("sec-websocket-accept");
  const upgrades = fields.list("upgrade");
  return (
    upgrades.length === 1 &&
    upgrades[0] === "websocket" &&
    fields.list("connection").includes("upgrade") &&
    accepts.length === 1 &&
    accepts[0] === acceptOf(key)
  );
}
