// Objects with deadlines, which the lb's sweep checks a few times a second.

/** A connection, tunnel or handshake in the set that the sweep checks. */
export interface Expiring {
  /** When to call `expired`, on the lb's clock; Infinity: never. */
  expiresMs: number;
  expired(): void;
  /** The lb takes no new clients: end where nothing is under way, and after what is. */
  drain?(): void;
  /** The time to drain is up: end in order. False: it ends already, or cannot at this moment. */
  sendAway?(): boolean;
  /** The lb stops: end at the next opportunity. */
  stop(): void;
  /** The stop deadline has passed: abort now. */
  cut?(): void;
}

/** Calls `expired` once for each entry whose deadline has passed. */
export function expireDue(entries: Iterable<Expiring>, nowMs: number): void {
  for (const entry of entries) {
    if (nowMs < entry.expiresMs) continue;
    entry.expiresMs = Number.POSITIVE_INFINITY;
    entry.expired();
  }
}
