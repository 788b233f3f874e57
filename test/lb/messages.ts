// What clients and servers of these tests say to each other, as raw text.

import { OK, type RawPeer, type ScriptedServer } from "./harness.ts";

/** A WebSocket handshake; SWITCHED grants it. */
export const opening = (fields = "", target = "/ws"): string =>
  `GET ${target} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n` +
  `Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${fields}\r\n`;

export const SWITCHED =
  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
  "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/** A server that grants the handshake. */
export const switching = async (peer: RawPeer): Promise<void> => {
  await peer.head();
  peer.send(SWITCHED);
};

/** The head of the next request, as the server gets it. */
export function nextHead(server: ScriptedServer): Promise<string> {
  const { promise, resolve } = Promise.withResolvers<string>();
  server.play(async (peer) => {
    const head = await peer.head();
    peer.send(OK);
    resolve(head);
  });
  return promise;
}
