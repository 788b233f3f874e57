// What can go wrong for the client, and the error that its promises reject with.

import { CLOSES, ERRORS, type ErrorCode } from "../wire/codes.ts";

/**
 * The codes of the protocol, and what can only go wrong on this side. A node of a later version may
 * send others.
 */
export type FaultCode =
  | ErrorCode
  | "disconnected"
  | "timeout"
  | "closed"
  | "queue_full"
  | "unreachable"
  | (string & {});
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

/** No WebSocket has opened. `reason`: what is known of the last attempt. */
export const unreachable = (attempts: number, reason: string): Fault => ({
  code: "unreachable",
  message:
    `No WebSocket has opened in ${attempts} attempts; the last one: ${reason || "no answer"}. ` +
    "Check the URL, that the cluster runs, its certificate where the URL is wss://, and that " +
    "every proxy in between lets WebSockets through. The client keeps trying.",
  retry: true,
});

/** `code` is stable, the message is for people. `retry`: the same may succeed later. */
export class TuttiError extends Error {
  override name = "TuttiError";
  readonly code: FaultCode;
  readonly retry: boolean;

  constructor({ code, message, retry }: Fault) {
    super(message);
    this.code = code;
    this.retry = retry;
  }
}
