// The error codes and close codes of the client protocol, and what a client should do about them.
// Codes are stable; messages may change.

/** `retry`: the same request may succeed later. */
export const ERRORS = {
  bad_frame: { retry: false, message: "The frame is not a message of this protocol." },
  not_connected: { retry: false, message: "Send connect first." },
  already_connected: { retry: false, message: "This connection has already said connect." },
  refused: { retry: false, message: "The app does not allow this." },
  not_subscribed: { retry: false, message: "This connection is not subscribed to the channel." },
  no_method: { retry: false, message: "The app has no such method." },
  too_large: { retry: false, message: "The data is over the size limit." },
  limit: { retry: false, message: "A limit of this connection is reached." },
  rate: { retry: true, message: "Too many requests; slow down." },
  busy: { retry: true, message: "The cluster cannot take this right now; try again." },
  storage: { retry: true, message: "The publication could not be stored; try again." },
  order: {
    retry: true,
    message: "The publication before this one was not taken; send that first.",
  },
  unknown: { retry: false, message: "Whether this was published is not known any more." },
  internal: { retry: false, message: "The app failed to answer." },
} as const;
export type ErrorCode = keyof typeof ERRORS;

/** `reconnect`: a client should connect again (and resume by position). */
export const CLOSES = {
  normal: { code: 1000, reconnect: false, reason: "closed" },
  goodbye: { code: 1012, reconnect: true, reason: "the node is going away" },
  too_large: { code: 1009, reconnect: false, reason: "message over the size limit" },
  bad_frames: { code: 4400, reconnect: false, reason: "too many bad frames" },
  refused: { code: 4401, reconnect: false, reason: "the app does not let this client in" },
  expired: { code: 4402, reconnect: true, reason: "authorization expired" },
  connect_timeout: { code: 4408, reconnect: true, reason: "no connect in time" },
  silent: { code: 4409, reconnect: true, reason: "nothing heard for two ping intervals" },
  slow: { code: 4410, reconnect: true, reason: "reads too slowly; resume by position" },
  rate: { code: 4429, reconnect: true, reason: "far too many requests" },
  internal: { code: 1011, reconnect: true, reason: "the node failed" },
} as const;
export type CloseName = keyof typeof CLOSES;

/**
 * Whether a client should connect again after a close with this code: also after codes that are not
 * in the table, such as 1006.
 */
export function shouldReconnect(closeCode: number): boolean {
  const known = Object.values(CLOSES).find(({ code }) => code === closeCode);
  return known === undefined || known.reconnect;
}
