// One subscriber's way through a channel: what it was owed and not given, given twice, or given out
// of order. Pure.

import type { Gap, Position } from "../wire/position.ts";
import type { History, Publication, Reading, Report } from "./history.ts";
import type { Lineage, Places } from "./observed-log.ts";

/** One subscriber's way through a channel. */
export class Walk {
  readonly #reading: Reading;
  readonly #places: Places;
  readonly #published: ReadonlyMap<string, Publication>;
  readonly #isWithinHistory: boolean;
  readonly #report: Report;
  #epoch = "";
  #offset = -1;
  /** How many of the lineage's known offsets are at or below `#offset`. */
  #index = 0;

  constructor(
    reading: Reading,
    places: Places,
    published: ReadonlyMap<string, Publication>,
    history: History,
    report: Report,
  ) {
    this.#reading = reading;
    this.#places = places;
    this.#published = published;
    this.#isWithinHistory = history.isWithinHistory === true;
    this.#report = report;
  }

  walk(): void {
    for (const event of this.#reading.events) {
      if (event.type === "message") this.#message(event.epoch, event.offset, event.value);
      else if (this.#offset < 0) this.#stand(event.position);
      else this.#told(event.position, event.gap);
    }
    if (this.#reading.isOver === true) return;
    if (this.#offset < 0) return this.#report("C8", `${this.#who} was never told where it stands`);
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
    return this.#places.lineage(this.#reading.channel, this.#epoch);
  }

  #name(offset: number): string {
    return `${offset} (${this.#lineage.values.get(offset)})`;
  }

  #message(epoch: string, offset: number, value: string): void {
    if (this.#offset < 0)
      return this.#report(
        "C5",
        `${this.#who} was given ${value} before it was told where it stands`,
      );
    if (epoch !== this.#epoch) {
      this.#report(
        "C5",
        `${this.#who} was given ${value} of lineage ${epoch} without being told of it`,
      );
      return this.#stand({ epoch, offset });
    }
    if (offset === this.#offset)
      return this.#report(
        "C2",
        `${this.#who} was given ${value} again at ${offset}, the last it has read`,
      );
    if (offset < this.#offset)
      return this.#report(
        "C4",
        `${this.#who} was given ${value} at ${offset} when it had read ${this.#offset}`,
      );
    this.#skipTo(offset - 1);
    this.#offset = offset;
    this.#index++;
  }

  #told(position: Position, gap: Gap | undefined): void {
    if (gap !== undefined && this.#isWithinHistory)
      this.#report(
        "C1",
        `${this.#who} was told at ${this.#offset} that ${gap.from} to ${gap.to} are gone (${gap.reason})`,
      );
    if (position.epoch !== this.#epoch) {
      if (gap?.reason !== "epoch")
        this.#report("C5", `${this.#who} was put into lineage ${position.epoch} without a word`);
      else this.#skipTo(gap.from - 1);
      this.#stand({ epoch: position.epoch, offset: Math.min(gap?.to ?? 0, position.offset) });
      return this.#skipTo(position.offset);
    }
    if (position.offset < this.#offset)
      this.#report(
        "C4",
        `${this.#who} was put at ${position.offset} when it had read ${this.#offset}`,
      );
    if (gap !== undefined && gap.from <= gap.to) {
      this.#skipTo(gap.from - 1);
      this.#passOver(gap.to);
    }
    this.#skipTo(position.offset);
  }

  /** Begins here: what lies before is not owed. */
  #stand({ epoch, offset }: Position): void {
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

  /** Goes on at `offset`; what is known to lie between was owed, and not given. */
  #skipTo(offset: number): void {
    const { sorted } = this.#lineage;
    for (; this.#index < sorted.length && sorted[this.#index] <= offset; this.#index++) {
      const skipped = sorted[this.#index];
      const wasAcknowledged =
        this.#published.get(this.#lineage.values.get(skipped) ?? "")?.outcome === "ok";
      const line = `${this.#who} went from ${this.#offset} to ${offset + 1} over ${this.#name(skipped)}`;
      this.#report(wasAcknowledged ? "C1" : "C5", line);
    }
    this.#offset = Math.max(this.#offset, offset);
  }

  /** Goes on at `offset`; it was told that what lies between is gone. */
  #passOver(offset: number): void {
    const { sorted } = this.#lineage;
    while (this.#index < sorted.length && sorted[this.#index] <= offset) this.#index++;
    this.#offset = Math.max(this.#offset, offset);
  }
}
