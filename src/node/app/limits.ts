// The limits of one client's connection. Pure.

import { type Limits, UNACKNOWLEDGED_MAX } from "../../wire/client-messages.ts";
import { PAYLOAD_BYTES_MAX } from "../../wire/frame.ts";

/**
 * What an app may set. All are per connection, except `connections` and `unsentBytes`, which are
 * for the whole node.
 */
export type LimitOptions = {
  /**
   * The longest message that a client may send, in bytes (default 64 KiB); longer ones end the
   * connection.
   */
  readonly frameBytes?: number | undefined;
  /** Channels that a client may be subscribed to (default 100). */
  readonly subscriptions?: number | undefined;
  /**
   * Requests that are answered per second (default 1000); what comes faster waits, what comes far
   * faster is refused.
   */
  readonly requestsPerSecond?: number | undefined;
  /**
   * Bytes of requests that are answered per second (default 1 MiB, and never less than one
   * request); what comes faster waits, what comes far faster is refused.
   */
  readonly requestBytesPerSecond?: number | undefined;
  /**
   * Bytes that a client is sent per second because it asked for them: history, missed publications,
   * lists of members, answers of methods (default 4 MiB). It waits before it may ask for more.
   */
  readonly answerBytesPerSecond?: number | undefined;
  /**
   * Channels that a client has not used lately and may subscribe or publish to, per second (default
   * 10), after twice as many at once as it may have subscriptions; the others wait.
   */
  readonly newChannelsPerSecond?: number | undefined;
  /**
   * Bytes that may wait for a client that reads slowly (default 1 MiB); beyond them it is
   * disconnected and resumes by position.
   */
  readonly bufferedBytes?: number | undefined;
  /**
   * How long `connect`, and a channel's `subscribe` and `publish`, may take (default 10,000 ms):
   * then the client is answered `busy`, its next request goes on, and a later answer is dropped.
   */
  readonly hookTimeoutMs?: number | undefined;
  /**
   * Bytes that may wait for all clients of a node together (default 128 MiB); beyond them the
   * slowest are disconnected and resume by position.
   */
  readonly unsentBytes?: number | undefined;
  /** Clients that a node accepts (default, and at most: what its file descriptors allow). */
  readonly connections?: number | undefined;
};

export type NodeLimits = {
  /** What `welcome` says. */
  readonly told: Limits;
  readonly requestsPerSecond: number;
  readonly requestBytesPerSecond: number;
  readonly answerBytesPerSecond: number;
  readonly newChannelsPerSecond: number;
  readonly bufferedBytes: number;
  readonly hookTimeoutMs: number;
  readonly unsentBytes: number;
  readonly connections: number | undefined;
};

/**
 * Requests of one session that may be queued. More than a client's window of unacknowledged
 * publications.
 */
export const WAITING_REQUESTS_MAX = 2 * UNACKNOWLEDGED_MAX;
/** Publications with a key that one session may begin per second: a relay keeps each in mind. */
export const KEYS_PER_SECOND = 200;
/** Calls of the app's methods that one session may have open. */
export const OPEN_CALLS_MAX = 64;
/** The protocol's pings that are answered; a client needs one every few seconds. */
export const PINGS_PER_SECOND = 10;
/**
 * Bad frames that are answered before the connection is closed. One is forgotten per ping interval.
 */
export const BAD_FRAMES_MAX = 10;
/** Requests refused for their rate before the connection is closed. */
export const RATE_REFUSALS_MAX = 1000;

const MIB = 1024 * 1024;
/** Bytes of a publish frame that are not its data. */
const FRAME_OVERHEAD_BYTES = 1024;

/** Throws an Error that says which limit is wrong. */
export function limitsOf(options: LimitOptions | undefined): NodeLimits {
  const { connections } = options ?? {};
  const frameBytes = checked(
    "frameBytes",
    options?.frameBytes ?? 64 * 1024,
    2 * FRAME_OVERHEAD_BYTES,
    PAYLOAD_BYTES_MAX,
  );
  const subscriptions = checked("subscriptions", options?.subscriptions ?? 100, 1, 100_000);
  return {
    told: {
      frameBytes,
      dataBytes: frameBytes - FRAME_OVERHEAD_BYTES,
      subscriptions,
      unacknowledged: UNACKNOWLEDGED_MAX,
    },
    requestsPerSecond: checked(
      "requestsPerSecond",
      options?.requestsPerSecond ?? 1000,
      1,
      1_000_000,
    ),
    requestBytesPerSecond: checked(
      "requestBytesPerSecond",
      options?.requestBytesPerSecond ?? MIB,
      1024,
      1024 * MIB,
    ),
    hookTimeoutMs: checked("hookTimeoutMs", options?.hookTimeoutMs ?? 10_000, 1, 600_000),
    answerBytesPerSecond: checked(
      "answerBytesPerSecond",
      options?.answerBytesPerSecond ?? 4 * MIB,
      1024,
      1024 * MIB,
    ),
    newChannelsPerSecond: checked(
      "newChannelsPerSecond",
      options?.newChannelsPerSecond ?? 10,
      1,
      1_000_000,
    ),
    bufferedBytes: checked("bufferedBytes", options?.bufferedBytes ?? MIB, 64 * 1024, 64 * MIB),
    unsentBytes: checked("unsentBytes", options?.unsentBytes ?? 128 * MIB, MIB, 65_536 * MIB),
    connections:
      connections === undefined ? undefined : checked("connections", connections, 1, 1_000_000),
  };
}

function checked(name: string, value: number, min: number, max: number): number {
  if (Number.isSafeInteger(value) && value >= min && value <= max) return value;
  throw new Error(`limits.${name} is ${value}: it must be a whole number from ${min} to ${max}.`);
}
