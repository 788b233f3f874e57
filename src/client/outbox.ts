// Publications from the moment the app hands them over until a node has acknowledged or refused
// them. Those of one channel go out in order, each naming the one before it; when one is refused for
// now, it and all behind it are sent again (go-back-N). Pure.

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

type Entry = {
  /** Whose promise it is. */
  readonly ticket: number;
  readonly line: Line;
  readonly seq: number;
  /** The frame's fields that stay, before and behind those that change. */
  readonly head: string;
  readonly tail: string;
  firstSentAt: number | undefined;
  /** How often it was sent, and the id of its latest frame. */
  sends: number;
  id: string;
};

/**
 * What waits in one channel, in order: the first `sent` are in flight. After a refusal none is sent
 * until `retryAt`.
 */
type Line = {
  readonly channel: string;
  readonly entries: Entry[];
  sent: number;
  retryAt: number;
  attempt: number;
};

export class Outbox {
  readonly #emit: Emit;
  readonly #lines = new Map<string, Line>();
  /** By seq. */
  readonly #entries = new Map<number, Entry>();
  #seq = 0;
  #inFlight = 0;
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
    const entry = { ticket, line, seq, head, tail, firstSentAt: undefined, sends: 0, id: "" };
    line.entries.push(entry);
    this.#entries.set(seq, entry);
    this.#characters += head.length + tail.length;
  }

  /** Sends what may be sent now, in order. The limits are the node's. */
  sendPublications(now: number, unacknowledgedMax: number, frameBytesMax: number): void {
    if (this.#inFlight === this.size) return;
    const sentMax = Math.min(unacknowledgedMax, UNACKNOWLEDGED_MAX);
    for (const line of this.#lines.values()) {
      if (now < line.retryAt) continue;
      while (
        line.sent < line.entries.length &&
        line.sent < sentMax &&
        this.#inFlight < IN_FLIGHT_MAX
      )
        this.#sendNext(line, now, frameBytesMax);
    }
  }

  /** `id`: of any of its frames; having been taken once is enough. */
  publicationAccepted(id: string, { position }: NodeMessageOf<"ok">): void {
    const entry = this.#entries.get(seqIn(id));
    if (entry === undefined) return;
    entry.line.attempt = 0;
    this.#removeEntry(entry);
    // Offset 0: published before, and where is no longer known.
    const known = position !== undefined && position.offset > 0 ? position : undefined;
    this.#emit({ type: "published", ticket: entry.ticket, position: known });
  }

  /**
   * Refused for now: it and all behind it go again, after a while, or at once where only the one
   * before it was missing. Refused for good: it fails, and those behind it name another.
   */
  publicationRefused(id: string, fault: Fault, now: number, random: number): void {
    const entry = this.#entries.get(seqIn(id));
    // What an earlier frame was refused for has been seen to.
    if (entry === undefined || entry.id !== id) return;
    if (!fault.retry) return this.#failEntry(entry, fault);
    const { line } = entry;
    this.#goBack(line, line.entries.indexOf(entry));
    if (fault.code !== "order") line.retryAt = now + backoffMs(++line.attempt, random);
  }

  /** What was sent and not answered may or may not have arrived: all of it is due again. */
  connectionLost(): void {
    for (const line of this.#lines.values()) this.#goBack(line, 0);
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
    const id = entry.sends === 0 ? `p${entry.seq}` : `p${entry.seq}.${entry.sends}`;
    const text = `{"type":"publish","id":"${id}",${entry.head},"after":${before}${age}${entry.tail}`;
    if (isLongerThan(text, frameBytesMax)) return this.#failEntry(entry, FAULTS.tooLarge);
    entry.id = id;
    entry.sends++;
    entry.firstSentAt ??= now;
    line.sent++;
    this.#inFlight++;
    this.#emit({ type: "send", text });
  }

  /** Those from this index on are not in flight any more. */
  #goBack(line: Line, index: number): void {
    for (const entry of line.entries.slice(index, line.sent)) entry.id = "";
    this.#inFlight -= line.sent - index;
    line.sent = index;
  }

  #failEntry(entry: Entry, fault: Fault): void {
    this.#removeEntry(entry);
    this.#emit({ type: "failed", ticket: entry.ticket, fault });
  }

  #removeEntry({ line, seq, head, tail }: Entry): void {
    const index = line.entries.findIndex((each) => each.seq === seq);
    line.entries.splice(index, 1);
    this.#entries.delete(seq);
    this.#characters -= head.length + tail.length;
    if (index < line.sent) {
      line.sent--;
      this.#inFlight--;
    }
    if (line.entries.length === 0) this.#lines.delete(line.channel);
  }
}

/** The seq in the id of a publication's frame: "p", the seq, and which time it is sent. */
const seqIn = (id: string): number => Math.trunc(Number(id.slice(1)));
