// The WebSocket handshake, as far as it needs no socket.

import { expect, test } from "bun:test";
import { acceptOf } from "../../src/lb/http/websocket.ts";

test("the accept hash is that of RFC 6455, 1.3", () => {
  expect(acceptOf("dGhlIHNhbXBsZSBub25jZQ==")).toBe("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
});
