// Publications from the moment the app hands them over until a node has acknowledged or refused
// them: numbered, kept in order, sent again on every new connection. Pure.

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

/** `ticket`: whose promise it is. `seq`: its place among all of this client's publications. */
type Entry = {
  readonly ticket: number;
  readonly channel: string;
  readonly seq: number;
  readonly text: string;
  isSent: boolean;
};

/**
 * A channel in which a publication was refused for now. Until one has gone through they are sent
 * singly (`probe`), so that none overtakes another.
 */
type Hold = { until: number; attempt: number; probe: number | undefined };

export class Outbox {
  readonly #emit: Emit;
  /**
   * By seq, which is also the order of the map: an entry stays in its place when it has to be sent
   * again.
   */
  readonly #entries = new Map<number, Entry>();
  readonly #holds = new Map<string, Hold>();
  #seq = 0;
  #unsent = 0;
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
      this.#entries.size >= UNACKNOWLEDGED_MAX + WAITING_MAX ||
      (this.#entries.size > 0 && this.#characters + json.length > CHARACTERS_MAX);
    if (isFull || this.#seq >= SEQ_MAX)
      return this.#emit({ type: "failed", ticket, fault: FAULTS.queueFull });
    const seq = ++this.#seq;
    // A key identifies the publication by itself, whoever publishes it; without one the seq does,
    // for this client.
    const identity = key === undefined ? `"seq":${seq}` : `"key":${JSON.stringify(key)}`;
    const text = `{"type":"publish","id":"p${seq}","channel":${JSON.stringify(channel)},${identity},"data":${json}}`;
    this.#entries.set(seq, { ticket, channel, seq, text, isSent: false });
    this.#unsent++;
    this.#characters += text.length;
  }

  /** Sends what may be sent now, in order. The limits are the node's. */
  sendPublications(now: number, unacknowledgedMax: number, frameBytesMax: number): void {
    if (this.#unsent === 0) return;
    // Counted from the oldest that is open, answered ones between included: the relay remembers
    // that many seqs, no more.
    const windowEnd = this.#oldestSeq() + Math.min(unacknowledgedMax, UNACKNOWLEDGED_MAX);
    for (const entry of this.#entries.values()) {
      if (entry.seq >= windowEnd) break;
      if (entry.isSent || !this.#mayPass(entry, now)) continue;
      entry.isSent = true;
      this.#unsent--;
      if (isLongerThan(entry.text, frameBytesMax)) this.#failEntry(entry, FAULTS.tooLarge);
      else this.#emit({ type: "send", text: entry.text });
    }
  }

  publicationAccepted(seq: number, { position }: NodeMessageOf<"ok">): void {
    const entry = this.#removeEntry(seq);
    if (entry === undefined) return;
    // Offset 0: published before, and where is no longer known.
    const known = position !== undefined && position.offset > 0 ? position : undefined;
    this.#emit({ type: "published", ticket: entry.ticket, position: known });
  }

  publicationRefused(seq: number, fault: Fault, now: number, random: number): void {
    const entry = this.#entries.get(seq);
    if (entry === undefined || !entry.isSent) return;
    if (!fault.retry) return this.#failEntry(entry, fault);
    entry.isSent = false;
    this.#unsent++;
    const hold = this.#holds.get(entry.channel);
    // Those that were in flight together are refused together: that is one failure, not many.
    if (hold !== undefined && hold.probe !== seq) return;
    const attempt = (hold?.attempt ?? 0) + 1;
    this.#holds.set(entry.channel, {
      until: now + backoffMs(attempt, random),
      attempt,
      probe: undefined,
    });
  }

  /** What was sent and not answered may or may not have arrived: all of it is due again. */
  connectionLost(): void {
    for (const entry of this.#entries.values()) entry.isSent = false;
    this.#unsent = this.#entries.size;
    for (const hold of this.#holds.values()) hold.probe = undefined;
  }

  /**
   * When a postponed channel is due. One that is due already waits for an answer, not for the time.
   */
  wakeAt(now: number): number {
    let at = Number.POSITIVE_INFINITY;
    for (const { until } of this.#holds.values()) if (until > now && until < at) at = until;
    return at;
  }

  /** Gives up everything. */
  failAll(fault: Fault): void {
    for (const entry of this.#entries.values()) this.#failEntry(entry, fault);
    this.#holds.clear();
  }

  #failEntry(entry: Entry, fault: Fault): void {
    this.#removeEntry(entry.seq);
    this.#emit({ type: "failed", ticket: entry.ticket, fault });
  }

  #removeEntry(seq: number): Entry | undefined {
    const entry = this.#entries.get(seq);
    if (entry === undefined) return undefined;
    this.#entries.delete(seq);
    this.#characters -= entry.text.length;
    if (!entry.isSent) this.#unsent--;
    if (this.#holds.get(entry.channel)?.probe === seq) this.#holds.delete(entry.channel);
    return entry;
  }

  #oldestSeq(): number {
    for (const seq of this.#entries.keys()) return seq;
    return this.#seq;
  }

  #mayPass({ channel, seq }: Entry, now: number): boolean {
    const hold = this.#holds.get(channel);
    if (hold === undefined) return true;
    if (hold.probe !== undefined || now < hold.until) return false;
    hold.probe = seq;
    return true;
  }
}
