// A session, as channels and their readers see it.

import type { RequestId } from "../../wire/client-messages.ts";
import type { ErrorCode } from "../../wire/codes.ts";
import type { Encoding } from "../codec/encoding.ts";

export interface Subscriber {
  /** What presence calls it, and shows of it (JSON text, as bytes). */
  readonly id: string;
  readonly infoBytes: Uint8Array;
  readonly encoding: Encoding;
  /** Whether more may be sent before the client has read what was. */
  readonly hasRoom: boolean;
  send(json: string): void;
  /** Sends what the client has asked for: its length does not count against a slow reader. */
  sendAsked(json: string): void;
  sendError(id: RequestId | undefined, code: ErrorCode): void;
  /** Does the work, and what it sends goes out together. */
  gather(work: () => void): void;
  /**
   * From here on the client gets what is published to this native topic, behind all that was sent.
   */
  join(topic: string): void;
  leave(topic: string): void;
  /** This subscription to a channel has ended with an error. */
  dropped(channel: string, subscription: object): void;
}
