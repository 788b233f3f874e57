// What goes into the client's state machine and what comes out of it.

import type { NodeMessageOf } from "../wire/client-messages.ts";
import { CLOSES, ERRORS, type ErrorCode } from "../wire/codes.ts";
import type { Gap, Position } from "../wire/position.ts";
import type { RequestFrame } from "./requests.ts";
import type { Start, Subscribed } from "./subscription.ts";

/** The codes of the protocol, and what can only go wrong on this side. */
export type FaultCode = ErrorCode | "disconnected" | "timeout" | "closed" | "queue_full";
/** Why something failed. `retry`: the same may succeed later. */
export type Fault = { readonly code: FaultCode; readonly message: string; readonly retry: boolean };

export const FAULTS = {
  closed: { code: "closed", message: "The client is closed.", retry: false },
  unsubscribed: { code: "closed", message: "The channel was unsubscribed.", retry: false },
  refused: { code: "refused", message: CLOSES.refused.reason, retry: false },
  disconnected: {
    code: "disconnected",
    message: "The connection was lost before the answer came; whether the app did it is not known.",
    retry: false,
  },
  timeout: { code: "timeout", message: "No answer came in time.", retry: true },
  queueFull: {
    code: "queue_full",
    message: "Too much is waiting to be sent already.",
    retry: true,
  },
  tooLarge: { code: "too_large", ...ERRORS.too_large },
} as const satisfies Record<string, Fault>;

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
  /** Without a start, one that stands already is left where it stands. */
  | {
      readonly type: "subscribe";
      readonly ticket: number;
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
  | { readonly type: "unsubscribe"; readonly channel: string }
  /** The reader of a channel is behind; after `resume` it goes on from where it was. */
  | { readonly type: "pause" | "resume"; readonly channel: string }
  /** Finish what is pending, for at most `withinMs`, then end. */
  | { readonly type: "close"; readonly withinMs: number };

/**
 * A connection, or an attempt at one, has failed or ended. `code`: of the WebSocket's close.
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
  | { readonly type: "tell_channel"; readonly channel: string; readonly event: ChannelEvent }
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
