// Objects with deadlines, which the lb's sweep checks a few times a second.

/** A connection, tunnel or handshake in the set that the sweep checks. */
export interface Expiring {
  /** When to call `expired`, on the lb's clock; Infinity: never. */
  expiresMs: number;
  expired(): void;
  /** The lb is stopping: end at the next opportunity. */
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
