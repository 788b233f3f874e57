// What goes into the client's state machine and what comes out of it.

import type { NodeMessageOf } from "../wire/client-messages.ts";
import type { Gap, Position } from "../wire/position.ts";
import type { Fault } from "./error.ts";
import type { Start, Subscribed } from "./reader.ts";

/** The frame of a request, without its id. */
export type RequestFrame = { readonly type: "call" | "history" | "presence" } & Readonly<
  Record<string, unknown>
>;

type Publish = {
  readonly channel: string;
  readonly json: string;
  readonly key: string | undefined;
};

/** `ticket` names the promise that the answer belongs to; the shell gives each another. */
export type Command =
  | ({ readonly type: "publish"; readonly ticket: number } & Publish)
  | {
      readonly type: "request";
      readonly ticket: number;
      readonly frame: RequestFrame;
      readonly timeoutMs: number;
    }
  /**
   * `reader`: who reads; a channel may have several, each with a place of its own. Without a start,
   * one that stands already is left where it stands.
   */
  | {
      readonly type: "subscribe";
      readonly ticket: number;
      readonly reader: number;
      readonly channel: string;
      readonly start: Start | undefined;
    };

export type Step =
  | Command
  | { readonly type: "start" }
  | { readonly type: "opened"; readonly token: string | undefined }
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "closed"; readonly code: number; readonly reason: string }
  | { readonly type: "wake" }
  /** The network may be back: try at once. */
  | { readonly type: "online" }
  | { readonly type: "unsubscribe"; readonly reader: number }
  /** The reader is slower than its channel; after `resume` it goes on from where it was. */
  | { readonly type: "pause" | "resume"; readonly reader: number }
  /** Finish what is pending, for at most `withinMs`, then end. */
  | { readonly type: "close"; readonly withinMs: number };

/**
 * A connection, or an attempt at one, has failed or ended. `code`: of the WebSocket's close.
 * `reason`: the node's, or what this runtime says of a WebSocket that did not open.
 * `reconnectInMs`: until the next attempt; undefined where the client does not come back.
 */
export type Disconnected = {
  readonly code: number;
  readonly reason: string;
  readonly wasConnected: boolean;
  readonly reconnectInMs: number | undefined;
};

export type ClientEvent =
  | { readonly type: "connected"; readonly node: string; readonly session: string }
  | ({ readonly type: "disconnected" } & Disconnected)
  | { readonly type: "goodbye"; readonly reason: string; readonly reconnectAfterMs: number }
  | { readonly type: "error"; readonly fault: Fault };

/** `characters`: of the frame, which is what keeping the message costs. */
export type MessageEvent = {
  readonly type: "message";
  readonly epoch: string;
  readonly offset: number;
  readonly time: number;
  readonly data: unknown;
  readonly characters: number;
};
export type ChannelEvent =
  | MessageEvent
  | { readonly type: "gap"; readonly gap: Gap; readonly position: Position }
  | { readonly type: "join" | "leave"; readonly client: string; readonly info: unknown }
  | { readonly type: "subscribed"; readonly subscribed: Subscribed }
  /** Unsubscribed, refused by the app, or the client has ended. */
  | { readonly type: "ended"; readonly fault: Fault };

/** What the shell does next, in order. */
export type Effect =
  /** Dial; whatever socket there was is of no interest any more. */
  | { readonly type: "open" }
  | { readonly type: "send"; readonly text: string }
  | { readonly type: "close"; readonly code: number; readonly reason: string }
  /** Come back with a `wake` at this time; replaces the one asked for before. */
  | { readonly type: "wake"; readonly at: number }
  | { readonly type: "published"; readonly ticket: number; readonly position: Position | undefined }
  | { readonly type: "answered"; readonly ticket: number; readonly ok: NodeMessageOf<"ok"> }
  | { readonly type: "subscribed"; readonly ticket: number; readonly subscribed: Subscribed }
  | { readonly type: "failed"; readonly ticket: number; readonly fault: Fault }
  | { readonly type: "tell"; readonly event: ClientEvent }
  | { readonly type: "tell_reader"; readonly reader: number; readonly event: ChannelEvent }
  /** Nothing follows: every promise is settled. */
  | { readonly type: "ended" };

export type Emit = (effect: Effect) => void;

const encoder = new TextEncoder();

/**
 * Whether `text` is more than `bytesMax` bytes of UTF-8. A frame that is too long would cost us the
 * connection.
 */
export function isLongerThan(text: string, bytesMax: number): boolean {
  if (text.length > bytesMax) return true;
  return text.length * 3 > bytesMax && encoder.encode(text).length > bytesMax;
}
