// What all clients together record: publications with their outcomes, what each subscriber
// received, and how long publishing and delivery paused after each fault. Pure: the time is an
// argument.

import type { Gap, Position } from "../wire/position.ts";
import type { History, Publication, ReadEvent, Reading } from "./history.ts";

type OpenReading = Reading & { readonly events: ReadEvent[] };
type Entry = Publication & { readonly atMs: number };

export class Ledger {
  readonly #pauses = new Pauses();
  readonly #publications = new Map<string, Entry>();
  readonly #readings: OpenReading[] = [];
  /** By channel: the highest offset observed. */
  readonly #topOffsets = new Map<string, number>();
  acknowledged = 0;
  failed = 0;
  deliveries = 0;
  gaps = 0;

  get history(): History {
    return {
      publications: [...this.#publications.values()],
      readings: this.#readings,
      isWithinHistory: true,
    };
  }

  get published(): number {
    return this.#publications.size;
  }

  faultBegan(fault: Fault): void {
    this.#pauses.faultBegan(fault);
  }

  pauseSummaries(): Summary[] {
    return this.#pauses.summaries();
  }

  /** How many publications have no answer yet, and how many readers are behind. */
  get outstanding(): { readonly answers: number; readonly readers: number } {
    const answers = this.published - this.acknowledged - this.failed;
    const isBehind = ({ channel, events }: OpenReading) =>
      offsetOf(events.at(-1)) < (this.#topOffsets.get(channel) ?? 0);
    return { answers, readers: this.#readings.filter(isBehind).length };
  }

  /** Records that a client publishes; returns the unique value to publish. */
  publicationStarted(publisher: string, channel: string, nowMs: number): string {
    const value = `${publisher}.${this.#publications.size + 1}`;
    this.#publications.set(value, { channel, publisher, value, outcome: "pending", atMs: nowMs });
    return value;
  }

  publicationAcknowledged(value: string, position: Position | undefined, nowMs: number): void {
    const entry = this.#publications.get(value);
    if (entry === undefined) return;
    if (entry.outcome === "pending") this.acknowledged++;
    entry.outcome = "ok";
    entry.position = position;
    this.#offsetSeen(entry.channel, position?.offset ?? 0);
    this.#pauses.publicationAcknowledged(entry.atMs, nowMs);
  }

  publicationFailed(value: string): void {
    const entry = this.#publications.get(value);
    if (entry === undefined) return;
    this.failed++;
    entry.outcome = "failed";
  }

  /** Records a new subscription; returns its list of events. */
  subscriptionStarted(reader: string, channel: string): ReadEvent[] {
    const events: ReadEvent[] = [];
    this.#readings.push({ reader, channel, events });
    return events;
  }

  positionReceived(events: ReadEvent[], position: Position, gap: Gap | undefined): void {
    events.push({
      type: "stands",
      position: { epoch: position.epoch, offset: position.offset },
      gap,
    });
    if (gap !== undefined) this.gaps++;
  }

  messageReceived(
    events: ReadEvent[],
    channel: string,
    { epoch, offset }: Position,
    value: string,
    nowMs: number,
  ): void {
    this.deliveries++;
    events.push({ type: "message", epoch, offset, value });
    this.#offsetSeen(channel, offset);
    const entry = this.#publications.get(value);
    if (entry !== undefined) this.#pauses.publicationDelivered(entry.atMs, nowMs);
  }

  #offsetSeen(channel: string, offset: number): void {
    if (offset > (this.#topOffsets.get(channel) ?? 0)) this.#topOffsets.set(channel, offset);
  }
}

function offsetOf(event: ReadEvent | undefined): number {
  if (event === undefined) return -1;
  return event.type === "message" ? event.offset : event.position.offset;
}

/** An injected fault, such as "kill relay". */
export type Fault = { readonly kind: string; readonly atMs: number };

type Pause = Fault & { publishingMs: number; deliveryMs: number };

export type Spread = { readonly p50: number; readonly p99: number; readonly max: number };
/** The pauses after the faults of one kind; `kind` "all": of every kind. */
export type Summary = {
  readonly kind: string;
  readonly count: number;
  readonly publishing: Spread;
  readonly delivery: Spread;
};

/**
 * How long publishing and delivery paused after each fault: the longest wait of any publication
 * that was in flight at the fault or was published since.
 */
class Pauses {
  readonly #pauses: Pause[] = [];

  faultBegan({ kind, atMs }: Fault): void {
    this.#pauses.push({ kind, atMs, publishingMs: 0, deliveryMs: 0 });
  }

  /** A publication sent at `sinceMs` was acknowledged. */
  publicationAcknowledged(sinceMs: number, nowMs: number): void {
    const latest = this.#pauses.at(-1);
    if (latest !== undefined)
      latest.publishingMs = Math.max(latest.publishingMs, waited(latest, sinceMs, nowMs));
  }

  /** A publication sent at `sinceMs` reached a subscriber. */
  publicationDelivered(sinceMs: number, nowMs: number): void {
    const latest = this.#pauses.at(-1);
    if (latest !== undefined)
      latest.deliveryMs = Math.max(latest.deliveryMs, waited(latest, sinceMs, nowMs));
  }

  /** One summary per kind, then one over all faults. */
  summaries(): Summary[] {
    const byKind = Map.groupBy(this.#pauses, ({ kind }) => kind);
    const summaries = [...byKind].map(([kind, pauses]) => summaryOf(kind, pauses));
    return summaries.length < 2 ? summaries : [...summaries, summaryOf("all", this.#pauses)];
  }
}

/** The wait since `sinceMs`, without the time before the fault. */
const waited = ({ atMs }: Fault, sinceMs: number, nowMs: number): number =>
  nowMs - Math.max(atMs, sinceMs);

function summaryOf(kind: string, pauses: readonly Pause[]): Summary {
  return {
    kind,
    count: pauses.length,
    publishing: spreadOf(pauses.map(({ publishingMs }) => publishingMs)),
    delivery: spreadOf(pauses.map(({ deliveryMs }) => deliveryMs)),
  };
}

function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number) =>
    Math.round(sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0);
  return { p50: at(0.5), p99: at(0.99), max: at(1) };
}
