// What all clients together write down: publications with their answers, what each subscriber was
// told and given, and how long things took after each fault. Pure: the time is told.

import type { Gap, Position } from "../wire/position.ts";
import type { History, Publication, ReadEvent, Reading } from "./history.ts";
import type { Pauses } from "./pauses.ts";

type OpenReading = Reading & { readonly events: ReadEvent[] };
type Entry = Publication & { readonly atMs: number };

export class Ledger {
  readonly #pauses: Pauses;
  readonly #publications = new Map<string, Entry>();
  readonly #readings: OpenReading[] = [];
  /** By channel: the highest offset that anyone has seen. */
  readonly #tops = new Map<string, number>();
  acknowledged = 0;
  failed = 0;
  deliveries = 0;
  gaps = 0;

  constructor(pauses: Pauses) {
    this.#pauses = pauses;
  }

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

  /** What is still to come before everything has arrived: answers, and readers that are behind. */
  get missing(): { readonly answers: number; readonly readers: number } {
    const answers = this.published - this.acknowledged - this.failed;
    const isBehind = ({ channel, events }: OpenReading) =>
      offsetOf(events.at(-1)) < (this.#tops.get(channel) ?? 0);
    return { answers, readers: this.#readings.filter(isBehind).length };
  }

  /** A client is about to publish; returns the value, which nobody else publishes. */
  publish(publisher: string, channel: string, nowMs: number): string {
    const value = `${publisher}.${this.#publications.size + 1}`;
    this.#publications.set(value, { channel, publisher, value, outcome: "pending", atMs: nowMs });
    return value;
  }

  answered(value: string, position: Position | undefined, nowMs: number): void {
    const entry = this.#publications.get(value);
    if (entry === undefined) return;
    if (entry.outcome === "pending") this.acknowledged++;
    entry.outcome = "ok";
    entry.position = position;
    this.#rise(entry.channel, position?.offset ?? 0);
    this.#pauses.publishing(entry.atMs, nowMs);
  }

  refused(value: string): void {
    const entry = this.#publications.get(value);
    if (entry === undefined) return;
    this.failed++;
    entry.outcome = "failed";
  }

  /** A client subscribes; what happens to the subscription goes into the list that is returned. */
  read(reader: string, channel: string): ReadEvent[] {
    const events: ReadEvent[] = [];
    this.#readings.push({ reader, channel, events });
    return events;
  }

  stands(events: ReadEvent[], position: Position, gap: Gap | undefined): void {
    events.push({
      type: "stands",
      position: { epoch: position.epoch, offset: position.offset },
      gap,
    });
    if (gap !== undefined) this.gaps++;
  }

  received(
    events: ReadEvent[],
    channel: string,
    { epoch, offset }: Position,
    value: string,
    nowMs: number,
  ): void {
    this.deliveries++;
    events.push({ type: "message", epoch, offset, value });
    this.#rise(channel, offset);
    const entry = this.#publications.get(value);
    if (entry !== undefined) this.#pauses.delivery(entry.atMs, nowMs);
  }

  #rise(channel: string, offset: number): void {
    if (offset > (this.#tops.get(channel) ?? 0)) this.#tops.set(channel, offset);
  }
}

function offsetOf(event: ReadEvent | undefined): number {
  if (event === undefined) return -1;
  return event.type === "message" ? event.offset : event.position.offset;
}
