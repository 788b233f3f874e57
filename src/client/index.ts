// The client SDK, `tutti/client`: for browsers, Bun, and Node 22 or later. This file is all that is
// public of it.

import { Client } from "./client.ts";
import type { WebSocketLike } from "./shell.ts";

export type { Present } from "../wire/client-messages.ts";
export type { GapReason, Position } from "../wire/position.ts";
export type { Channel, ChannelEvents, History, Message } from "./channel.ts";
export type { Client, ClientEvents } from "./client.ts";
export type { ConnectionState } from "./connection.ts";
export { type FaultCode, TuttiError } from "./error.ts";
export type { Start, Subscribed } from "./reader.ts";
export type { Disconnected } from "./steps.ts";

export type ConnectOptions = {
  /** Only where the app authenticates by token. A function is asked anew for every connection. */
  readonly token?: string | (() => string | Promise<string>);
  /** Where the runtime has none of its own, or another is wanted. */
  readonly WebSocket?: new (
    url: string,
    protocols: string[],
  ) => WebSocketLike;
};

/**
 * A client that connects, and goes on connecting whenever it has to, until `close`. `url`:
 * "ws://…", "wss://…", or "http(s)://…" for the same address. Throws TypeError when that is no such
 * URL, or when there is no WebSocket.
 */
export function connect(url: string | URL, options: ConnectOptions = {}): Client {
  const target = new URL(url);
  target.protocol = target.protocol.replace(/^http/, "ws");
  if (!/^wss?:$/.test(target.protocol))
    throw new TypeError(`connect: ${url} is neither ws:// nor wss://`);
  const { token, WebSocket = globalThis.WebSocket } = options;
  if (WebSocket === undefined)
    throw new TypeError("connect: this runtime has no WebSocket; pass one as an option");
  return new Client({ url: target.href, token, WebSocket });
}
