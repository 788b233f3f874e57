// A session, as channels and their readers see it.

import type { OutgoingMessage, RequestId } from "../../wire/client-messages.ts";
import type { ErrorCode } from "../../wire/codes.ts";
import type { Encoding } from "../codec/encoding.ts";

export interface Subscriber {
  /** Its id in presence, and the info it shows there (JSON text, as bytes). */
  readonly id: string;
  readonly infoBytes: Uint8Array;
  readonly encoding: Encoding;
  /** Whether more may be sent before the client has read what was sent. */
  readonly hasRoom: boolean;
  sendMessage(message: OutgoingMessage): void;
  sendText(json: string): void;
  /** Sends what the client requested: its length does not count against a slow reader. */
  sendRequested(json: string): void;
  sendError(id: RequestId | undefined, code: ErrorCode): void;
  /** Runs `work`; what it sends goes out together. */
  cork(work: () => void): void;
  /** The client gets what is published to this native topic, after all that was sent. */
  joinTopic(topic: string): void;
  leaveTopic(topic: string): void;
  /** This subscription to a channel has ended with an error. */
  subscriptionFailed(channel: string, subscription: object): void;
}
