// Unacknowledged publications to one relay, in order, and in order again on every new connection.
// Pure: it decides what to send, and does not send.

/**
 * What a publisher is told in the end: an outcome of the relay, or "busy": certainly not published,
 * or (with a seq) not yet known.
 */
export type PublishResult = number | "busy" | "storage";

/** Gets the result of one publication. */
export interface Publisher {
  published(result: PublishResult): void;
}

/**
 * Where a publication goes: `id` is the relay's number for the channel, 0 while the relay has not
 * told it. `owesRetry`: see Opening.
 */
export type Destination = { readonly id: number; unacknowledged: number; owesRetry: boolean };

export type Outgoing = {
  readonly destination: Destination;
  /** A whole PUBLISH frame; its channel id is set when it is sent. */
  readonly frame: Uint8Array;
  /**
   * The publisher repeats it with the same seq or key, so that an unknown result does no harm.
   */
  readonly isRepeatable: boolean;
  readonly takenAtMs: number;
  /** Undefined once it has its result. */
  publisher: Publisher | undefined;
  /** On this or an earlier connection: the relay may have it. */
  wasSent: boolean;
};

export const OUTBOX_ENTRIES_MAX = 65_536;
export const OUTBOX_BYTES_MAX = 32 * 1024 * 1024;
const COMPACT_AT = 1024;

/** Replaces an entry that is done, so that its frame can be freed. */
const GONE: Outgoing = {
  destination: { id: 0, unacknowledged: 0, owesRetry: false },
  frame: new Uint8Array(0),
  isRepeatable: false,
  takenAtMs: 0,
  publisher: undefined,
  wasSent: true,
};

export class Outbox {
  #entries: Outgoing[] = [];
  #head = 0;
  /** Where the entries begin that are not sent on this connection. */
  #next = 0;
  #bytes = 0;
  /** Sent behind one that the relay could not store: it refuses these too. */
  readonly #doomed = new WeakSet<Outgoing>();

  get size(): number {
    return this.#entries.length - this.#head;
  }

  /** Adds a publication. False: there is no room. */
  add(entry: Outgoing): boolean {
    if (this.size >= OUTBOX_ENTRIES_MAX || this.#bytes + entry.frame.length > OUTBOX_BYTES_MAX)
      return false;
    this.#entries.push(entry);
    this.#bytes += entry.frame.length;
    entry.destination.unacknowledged++;
    return true;
  }

  /**
   * The next to be sent; it counts as sent. Undefined: none, or the next one's channel is not open
   * yet, and none may overtake it.
   */
  takeUnsent(): Outgoing | undefined {
    if (this.#next === this.#entries.length) return undefined;
    const entry = this.#entries[this.#next];
    if (entry.destination.id === 0) return undefined;
    this.#next++;
    entry.wasSent = true;
    return entry;
  }

  /**
   * The relay has answered for the oldest that was sent. Undefined: it answers for more than it was
   * given.
   */
  takeAnswered(): Outgoing | undefined {
    if (this.#head === this.#next) return undefined;
    const entry = this.#entries[this.#head];
    this.#forget(entry);
    this.#entries[this.#head++] = GONE;
    if (this.#head >= COMPACT_AT && this.#head * 2 >= this.#entries.length) this.#compact();
    return entry;
  }

  /**
   * The relay could not store this one, and takes none behind it in its channel until it is told
   * to. Returns whose publishers are to be told "storage" now, before they publish more: those that
   * were not sent, which are given up, and those that were and can be repeated. Undefined where
   * this one's refusal is part of another's.
   */
  refused(entry: Outgoing): Outgoing[] | undefined {
    if (this.#doomed.has(entry)) return undefined;
    const { destination } = entry;
    const doomed = this.#entries
      .slice(this.#head, this.#next)
      .filter((each) => each.destination === destination);
    for (const each of doomed) this.#doomed.add(each);
    return [...doomed.filter(({ isRepeatable }) => isRepeatable), ...this.refuse(destination)];
  }

  /**
   * The link is lost: all that is unanswered has to be sent again. But not what the relay would
   * have refused behind another, where the publisher was told so: it would overtake the other's
   * repeat.
   */
  linkLost(): void {
    this.#next = this.#head;
    this.#drop(this.#head, (entry) => this.#doomed.delete(entry) && entry.isRepeatable);
  }

  /**
   * Publications taken before that time that are still unanswered: their publishers are to be told
   * "busy". One that never left is given up, and with it all that wait behind it, or they would
   * overtake its repeat. One that left stays until it is answered.
   */
  expire(beforeMs: number): Outgoing[] {
    const overdue: Outgoing[] = [];
    for (
      let i = this.#head;
      i < this.#entries.length && this.#entries[i].takenAtMs < beforeMs;
      i++
    ) {
      const entry = this.#entries[i];
      if (!entry.wasSent) return overdue.concat(this.#drop(i, () => true));
      if (entry.isRepeatable && entry.publisher !== undefined) overdue.push(entry);
    }
    return overdue;
  }

  /** The relay does not open this channel: gives up what waits for it. */
  refuse(destination: Destination): Outgoing[] {
    return this.#drop(this.#next, (entry) => entry.destination === destination);
  }

  #drop(from: number, isDropped: (entry: Outgoing) => boolean): Outgoing[] {
    const dropped: Outgoing[] = [];
    const kept: Outgoing[] = [];
    for (const entry of this.#entries.splice(from)) (isDropped(entry) ? dropped : kept).push(entry);
    this.#entries.push(...kept);
    for (const entry of dropped) this.#forget(entry);
    return dropped;
  }

  #forget({ frame, destination }: Outgoing): void {
    this.#bytes -= frame.length;
    destination.unacknowledged--;
  }

  #compact(): void {
    this.#entries.splice(0, this.#head);
    this.#next -= this.#head;
    this.#head = 0;
  }
}
