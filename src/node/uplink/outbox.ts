// Unacknowledged publications to one relay, in order, and in order again on every new connection.
// Pure: it decides what to send, and does not send.

import { seqAt, setAfter, setAge, setChannelId } from "../../wire/frame.ts";

/**
 * What a publisher is told in the end: an outcome of the relay, or why it was not published.
 * "busy": certainly not published, or (where it is repeatable) not yet known. "order": the one
 * before it was not taken. "unknown": a repeat that nobody remembers.
 */
export type PublishResult = number | "busy" | "storage" | "order" | "unknown";

/** Gets the result of one publication. */
export interface Publisher {
  published(result: PublishResult): void;
}

/**
 * Where a publication goes: `id` is the relay's number for the channel, 0 while the relay has not
 * told it. `newestOwn`: the newest of this node's own that is unanswered.
 */
export type Destination = {
  readonly id: number;
  unacknowledged: number;
  newestOwn: Outgoing | undefined;
};

export type Outgoing = {
  readonly destination: Destination;
  /** A whole PUBLISH frame; where it goes and behind what is set when it is sent. */
  readonly frame: Uint8Array;
  /**
   * The publisher repeats it with the same seq or key, so that an unknown result does no harm.
   */
  readonly isRepeatable: boolean;
  /** This node keeps its order: it is sent again when the one before it was not taken. */
  readonly isOwn: boolean;
  readonly takenAtMs: number;
  /** How long ago its publisher had sent it first, when it was taken; 0: never before, ms. */
  readonly ageMs: number;
  /** Undefined once it has its result. */
  publisher: Publisher | undefined;
  /** On this or an earlier connection: the relay may have it. */
  wasSent: boolean;
  isAnswered: boolean;
  /** Of the node's own: the one before it in the channel that may be unanswered. */
  before: Outgoing | undefined;
  /** Its place among all: the outbox counts. */
  ordinal: number;
};

export const OUTBOX_ENTRIES_MAX = 65_536;
export const OUTBOX_BYTES_MAX = 32 * 1024 * 1024;
const COMPACT_AT = 1024;

/** Replaces an entry that is done, so that its frame can be freed. */
const GONE: Outgoing = {
  destination: { id: 0, unacknowledged: 0, newestOwn: undefined },
  frame: new Uint8Array(0),
  isRepeatable: false,
  isOwn: false,
  takenAtMs: 0,
  ageMs: 0,
  publisher: undefined,
  wasSent: true,
  isAnswered: true,
  before: undefined,
  ordinal: 0,
};

export class Outbox {
  #entries: Outgoing[] = [];
  #head = 0;
  /** Where the entries begin that are not sent on this connection. */
  #next = 0;
  #bytes = 0;
  #ordinal = 0;

  get size(): number {
    return this.#entries.length - this.#head;
  }

  /** Adds a publication. False: there is no room. */
  add(entry: Outgoing): boolean {
    const { destination, frame } = entry;
    if (this.size >= OUTBOX_ENTRIES_MAX || this.#bytes + frame.length > OUTBOX_BYTES_MAX)
      return false;
    entry.ordinal = ++this.#ordinal;
    this.#entries.push(entry);
    this.#bytes += frame.length;
    destination.unacknowledged++;
    if (entry.isOwn) {
      entry.before = destination.newestOwn;
      destination.newestOwn = entry;
    }
    return true;
  }

  /**
   * The next to be sent, its frame made out for that; it counts as sent. Undefined: none, or the
   * next one's channel is not open yet, and none may overtake it.
   */
  takeUnsent(nowMs: number): Outgoing | undefined {
    if (this.#next === this.#entries.length) return undefined;
    const entry = this.#entries[this.#next];
    const { destination, frame, ageMs, isOwn, wasSent } = entry;
    if (destination.id === 0) return undefined;
    this.#next++;
    setChannelId(frame, 0, destination.id);
    if (wasSent || ageMs > 0) setAge(frame, 0, Math.max(1, ageMs + nowMs - entry.takenAtMs));
    if (isOwn) {
      const before = unansweredBefore(entry);
      setAfter(frame, 0, before === undefined ? 0 : seqAt(before.frame, 0));
    }
    entry.wasSent = true;
    return entry;
  }

  /**
   * The relay has answered for the oldest that was sent. `isOutOfOrder`: it has not taken the one
   * before it; this node's own are then due again. Undefined: it answers for more than it was
   * given.
   */
  takeAnswered(isOutOfOrder = false): Outgoing | undefined {
    if (this.#head === this.#next) return undefined;
    const entry = this.#entries[this.#head];
    this.#entries[this.#head++] = GONE;
    if (isOutOfOrder && entry.isOwn) this.#insertUnsent(entry);
    else this.#forget(entry);
    if (this.#head >= COMPACT_AT && this.#head * 2 >= this.#entries.length) this.#compact();
    return entry;
  }

  /** The link is lost: all that is unanswered has to be sent again, in its order. */
  linkLost(): void {
    this.#entries = this.#entries.slice(this.#head).sort((a, b) => a.ordinal - b.ordinal);
    this.#head = 0;
    this.#next = 0;
  }

  /**
   * Publications taken before that time that are still unanswered: their publishers are to be told
   * "busy". One that never left is given up. One that left stays until it is answered.
   */
  expire(beforeMs: number): Outgoing[] {
    const isOverdue = (entry: Outgoing) => entry.takenAtMs < beforeMs;
    const oldest = this.#entries[this.#head];
    if (oldest === undefined || !isOverdue(oldest)) return [];
    const overdue = this.#entries
      .slice(this.#head)
      .filter(
        (entry) =>
          isOverdue(entry) && entry.wasSent && entry.isRepeatable && entry.publisher !== undefined,
      );
    return overdue.concat(this.#drop((entry) => !entry.wasSent && isOverdue(entry)));
  }

  /** The relay does not open this channel: gives up what waits for it. */
  refuse(destination: Destination): Outgoing[] {
    return this.#drop((entry) => entry.destination === destination);
  }

  /** Takes out some of what is not sent. */
  #drop(isDropped: (entry: Outgoing) => boolean): Outgoing[] {
    const dropped: Outgoing[] = [];
    const kept: Outgoing[] = [];
    for (const entry of this.#entries.splice(this.#next))
      (isDropped(entry) ? dropped : kept).push(entry);
    this.#entries = this.#entries.concat(kept);
    for (const entry of dropped) this.#forget(entry);
    return dropped;
  }

  /** Puts it among what is not sent, which is in order. */
  #insertUnsent(entry: Outgoing): void {
    let at = this.#next;
    while (at < this.#entries.length && this.#entries[at].ordinal < entry.ordinal) at++;
    this.#entries.splice(at, 0, entry);
  }

  #forget(entry: Outgoing): void {
    const { frame, destination } = entry;
    this.#bytes -= frame.length;
    destination.unacknowledged--;
    entry.isAnswered = true;
    if (!entry.isOwn) return;
    const before = unansweredBefore(entry);
    if (destination.newestOwn === entry) destination.newestOwn = before;
  }

  #compact(): void {
    this.#entries.splice(0, this.#head);
    this.#next -= this.#head;
    this.#head = 0;
  }
}

/** The one before it in its channel that is unanswered; lets go of those that are answered. */
function unansweredBefore(entry: Outgoing): Outgoing | undefined {
  while (entry.before?.isAnswered === true) entry.before = entry.before.before;
  return entry.before;
}
