// Checks one reading of a channel against the observed log: messages that the subscriber should
// have received and did not, received twice, or received out of order. Pure.

import type { Gap, Position } from "../wire/position.ts";
import type { History, Publication, Reading, Report } from "./history.ts";
import type { Lineage, ObservedLog } from "./observed-log.ts";

export type CheckContext = {
  readonly log: ObservedLog;
  readonly published: ReadonlyMap<string, Publication>;
  readonly history: History;
  readonly report: Report;
};

export class ReadingCheck {
  readonly #reading: Reading;
  readonly #log: ObservedLog;
  readonly #published: ReadonlyMap<string, Publication>;
  readonly #isWithinHistory: boolean;
  readonly #report: Report;
  #epoch = "";
  #offset = -1;
  /** How many of the lineage's known offsets are at or below `#offset`. */
  #index = 0;

  constructor(reading: Reading, { log, published, history, report }: CheckContext) {
    this.#reading = reading;
    this.#log = log;
    this.#published = published;
    this.#isWithinHistory = history.isWithinHistory === true;
    this.#report = report;
  }

  checkEvents(): void {
    for (const event of this.#reading.events) {
      if (event.type === "message") this.#messageReceived(event.epoch, event.offset, event.value);
      else if (this.#offset < 0) this.#startAt(event.position);
      else this.#positionTold(event.position, event.gap);
    }
    if (this.#reading.isOver === true) return;
    if (this.#offset < 0) return this.#report("C8", `${this.#who} never received a position`);
    for (const offset of this.#lineage.sorted.slice(this.#index))
      this.#report(
        "C8",
        `${this.#who} stopped at ${this.#offset} and has not read ${this.#name(offset)}`,
      );
  }

  get #who(): string {
    return `${this.#reading.reader} of ${this.#reading.channel} (${this.#epoch})`;
  }

  get #lineage(): Lineage {
    return this.#log.lineage(this.#reading.channel, this.#epoch);
  }

  #name(offset: number): string {
    return `${offset} (${this.#lineage.values.get(offset)})`;
  }

  #messageReceived(epoch: string, offset: number, value: string): void {
    if (this.#offset < 0)
      return this.#report("C5", `${this.#who} received ${value} before its position`);
    if (epoch !== this.#epoch) {
      this.#report("C5", `${this.#who} received ${value} of lineage ${epoch} without an epoch gap`);
      return this.#startAt({ epoch, offset });
    }
    if (offset === this.#offset)
      return this.#report(
        "C2",
        `${this.#who} received ${value} again at ${offset}, its last offset`,
      );
    if (offset < this.#offset)
      return this.#report(
        "C4",
        `${this.#who} received ${value} at ${offset} after ${this.#offset}`,
      );
    this.#advanceTo(offset - 1);
    this.#offset = offset;
    this.#index++;
  }

  #positionTold(position: Position, gap: Gap | undefined): void {
    if (gap !== undefined && this.#isWithinHistory)
      this.#report(
        "C1",
        `${this.#who} received at ${this.#offset} a gap ${gap.from} to ${gap.to} (${gap.reason})`,
      );
    if (position.epoch !== this.#epoch) {
      if (gap?.reason !== "epoch")
        this.#report(
          "C5",
          `${this.#who} was moved to lineage ${position.epoch} without an epoch gap`,
        );
      else this.#advanceTo(gap.from - 1);
      this.#startAt({ epoch: position.epoch, offset: Math.min(gap?.to ?? 0, position.offset) });
      return this.#advanceTo(position.offset);
    }
    if (position.offset < this.#offset)
      this.#report("C4", `${this.#who} was moved to ${position.offset} after ${this.#offset}`);
    if (gap !== undefined && gap.from <= gap.to) {
      this.#advanceTo(gap.from - 1);
      this.#advanceOverGap(gap.to);
    }
    this.#advanceTo(position.offset);
  }

  /** Starts at a position: earlier publications are not expected. */
  #startAt({ epoch, offset }: Position): void {
    this.#epoch = epoch;
    this.#offset = offset;
    const { sorted } = this.#lineage;
    let low = 0;
    for (let high = sorted.length; low < high; ) {
      const middle = (low + high) >>> 1;
      if (sorted[middle] <= offset) low = middle + 1;
      else high = middle;
    }
    this.#index = low;
  }

  /** Advances to `offset` and reports every known offset in between as missed. */
  #advanceTo(offset: number): void {
    const { sorted } = this.#lineage;
    for (; this.#index < sorted.length && sorted[this.#index] <= offset; this.#index++) {
      const skipped = sorted[this.#index];
      const wasAcknowledged =
        this.#published.get(this.#lineage.values.get(skipped) ?? "")?.outcome === "ok";
      const step = `went from ${this.#offset} to ${offset + 1} over ${this.#name(skipped)}`;
      this.#report(wasAcknowledged ? "C1" : "C5", `${this.#who} ${step}`);
    }
    this.#offset = Math.max(this.#offset, offset);
  }

  /** Advances to `offset`; a gap covers the offsets in between. */
  #advanceOverGap(offset: number): void {
    const { sorted } = this.#lineage;
    while (this.#index < sorted.length && sorted[this.#index] <= offset) this.#index++;
    this.#offset = Math.max(this.#offset, offset);
  }
}
