// Publications from the moment the app hands them over until a node has acknowledged or refused
// them. Those of one channel go out in order, each naming the one before it; when one is refused
// for now, it and all behind it are sent again (go-back-N). Pure.

import { type NodeMessageOf, SEQ_MAX, UNACKNOWLEDGED_MAX } from "../wire/client-messages.ts";
import { backoffMs } from "./backoff.ts";
import { FAULTS, type Fault } from "./error.ts";
import { type Emit, isLongerThan } from "./steps.ts";

/**
 * Publications that may wait behind the unacknowledged ones, and the characters all of them may
 * hold.
 */
const WAITING_MAX = 4096;
const CHARACTERS_MAX = 16 * 1024 * 1024;
/** Unanswered publications of all channels together: more than those of one that is stuck. */
const IN_FLIGHT_MAX = 2 * UNACKNOWLEDGED_MAX;

/**
 * `superseded`: sent and not answered, but it has to be sent again whatever the answer is, unless
 * it was taken all the same.
 */
type Entry = {
  /** Whose promise it is. */
  readonly ticket: number;
  readonly line: Line;
  readonly seq: number;
  /** The frame's fields that stay, before and behind those that change. */
  readonly head: string;
  readonly tail: string;
  firstSentAt: number | undefined;
  state: "waiting" | "sent" | "superseded";
};

/**
 * What is to be published in one channel, in order: the first `sent` are sent. After a refusal none
 * is sent until `retryAt`, nor before all that is superseded is answered; then `window` at a time,
 * which begins with one and doubles with each that is taken.
 */
type Line = {
  readonly channel: string;
  readonly entries: Entry[];
  sent: number;
  superseded: number;
  window: number;
  retryAt: number;
  attempt: number;
};

export class Outbox {
  readonly #emit: Emit;
  readonly #lines = new Map<string, Line>();
  /** By seq. */
  readonly #entries = new Map<number, Entry>();
  #seq = 0;
  #unanswered = 0;
  #characters = 0;

  constructor(emit: Emit) {
    this.#emit = emit;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Takes a publication whose data is JSON text; fails it where there is no room. */
  enqueuePublication(ticket: number, channel: string, json: string, key: string | undefined): void {
    const isFull =
      this.size >= UNACKNOWLEDGED_MAX + WAITING_MAX ||
      (this.size > 0 && this.#characters + json.length > CHARACTERS_MAX);
    if (isFull || this.#seq >= SEQ_MAX)
      return this.#emit({ type: "failed", ticket, fault: FAULTS.queueFull });
    const line = this.#lines.get(channel) ?? {
      channel,
      entries: [],
      sent: 0,
      superseded: 0,
      window: UNACKNOWLEDGED_MAX,
      retryAt: 0,
      attempt: 0,
    };
    this.#lines.set(channel, line);
    // A key identifies the publication by itself, whoever publishes it; without one the seq does,
    // for this client. Seqs of a channel need only grow.
    const seq = ++this.#seq;
    const named = key === undefined ? "" : `,"key":${JSON.stringify(key)}`;
    const head = `"channel":${JSON.stringify(channel)},"seq":${seq}${named}`;
    const tail = `,"data":${json}}`;
    const entry: Entry = {
      ...{ ticket, line, seq, head, tail },
      firstSentAt: undefined,
      state: "waiting",
    };
    line.entries.push(entry);
    this.#entries.set(seq, entry);
    this.#characters += head.length + tail.length;
  }

  /** Sends what may be sent now, in order. The limits are the node's. */
  sendPublications(now: number, unacknowledgedMax: number, frameBytesMax: number): void {
    if (this.#unanswered === this.size) return;
    for (const line of this.#lines.values()) {
      if (now < line.retryAt || line.superseded > 0) continue;
      const sentMax = Math.min(unacknowledgedMax, line.window);
      while (
        line.sent < line.entries.length &&
        line.sent < sentMax &&
        this.#unanswered < IN_FLIGHT_MAX
      )
        this.#sendNext(line, now, frameBytesMax);
    }
  }

  publicationAccepted(seq: number, { position }: NodeMessageOf<"ok">): void {
    const entry = this.#entries.get(seq);
    if (entry === undefined) return;
    const { line } = entry;
    line.attempt = 0;
    line.window = Math.min(2 * line.window, UNACKNOWLEDGED_MAX);
    this.#removeEntry(entry);
    // Offset 0: published before, and where is no longer known.
    const known = position !== undefined && position.offset > 0 ? position : undefined;
    this.#emit({ type: "published", ticket: entry.ticket, position: known });
  }

  /**
   * Refused for now: it and all behind it go again, after a while, or at once where only the one
   * before it was missing. Refused for good: it fails, and those behind it name another.
   */
  publicationRefused(seq: number, fault: Fault, now: number, random: number): void {
    const entry = this.#entries.get(seq);
    if (entry === undefined || entry.state === "waiting") return;
    if (!fault.retry) return this.#failEntry(entry, fault);
    const { line, state } = entry;
    this.#frameAnswered(entry);
    // It goes again for a refusal before this one.
    if (state === "superseded") return;
    const index = line.entries.indexOf(entry);
    for (const behind of line.entries.slice(index + 1, line.sent)) behind.state = "superseded";
    line.superseded += line.sent - index - 1;
    line.sent = index;
    if (fault.code === "order") return;
    line.window = 1;
    line.retryAt = now + backoffMs(++line.attempt, random);
  }

  /** What was sent and not answered may or may not have arrived: all of it is due again. */
  connectionLost(): void {
    for (const line of this.#lines.values()) {
      line.sent = 0;
      line.superseded = 0;
    }
    for (const entry of this.#entries.values()) entry.state = "waiting";
    this.#unanswered = 0;
  }

  /** When a line that waits is due. */
  wakeAt(now: number): number {
    let at = Number.POSITIVE_INFINITY;
    for (const { retryAt } of this.#lines.values()) if (retryAt > now && retryAt < at) at = retryAt;
    return at;
  }

  /** Gives up everything. */
  failAll(fault: Fault): void {
    for (const { entries } of [...this.#lines.values()])
      for (const entry of [...entries]) this.#failEntry(entry, fault);
  }

  #sendNext(line: Line, now: number, frameBytesMax: number): void {
    const entry = line.entries[line.sent];
    const before = line.sent > 0 ? line.entries[line.sent - 1].seq : 0;
    const age =
      entry.firstSentAt === undefined
        ? ""
        : `,"age":${Math.max(1, Math.ceil(now - entry.firstSentAt))}`;
    const { seq, head, tail } = entry;
    const text = `{"type":"publish","id":"p${seq}",${head},"after":${before}${age}${tail}`;
    if (isLongerThan(text, frameBytesMax)) return this.#failEntry(entry, FAULTS.tooLarge);
    entry.state = "sent";
    entry.firstSentAt ??= now;
    line.sent++;
    this.#unanswered++;
    this.#emit({ type: "send", text });
  }

  #failEntry(entry: Entry, fault: Fault): void {
    this.#removeEntry(entry);
    this.#emit({ type: "failed", ticket: entry.ticket, fault });
  }

  #removeEntry(entry: Entry): void {
    const { line, seq, head, tail, state } = entry;
    const index = line.entries.indexOf(entry);
    line.entries.splice(index, 1);
    if (state === "sent") line.sent--;
    this.#frameAnswered(entry);
    this.#entries.delete(seq);
    this.#characters -= head.length + tail.length;
    if (line.entries.length === 0) this.#lines.delete(line.channel);
  }

  #frameAnswered(entry: Entry): void {
    if (entry.state !== "waiting") this.#unanswered--;
    if (entry.state === "superseded") entry.line.superseded--;
    entry.state = "waiting";
  }
}
