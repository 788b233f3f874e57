// Where every publication was seen to be, over all clients together: finds what contradicts itself.
// Pure.

import type { History, Publication, Report } from "./history.ts";

/** One lineage of one channel: which value is at which offset, as anybody has seen it. */
export type Lineage = { readonly values: Map<number, string>; sorted: number[] };

/** Where every value is, over all clients; finds what contradicts itself. */
export class Places {
  readonly #lineages = new Map<string, Lineage>();
  readonly #placeOf = new Map<string, { readonly place: string; readonly lineage: Lineage }>();
  readonly #published: ReadonlyMap<string, Publication>;
  readonly #hasLostPower: boolean;
  readonly #report: Report;

  constructor(
    published: ReadonlyMap<string, Publication>,
    { hasLostPower = false }: History,
    report: Report,
  ) {
    this.#published = published;
    this.#hasLostPower = hasLostPower;
    this.#report = report;
  }

  lineage(channel: string, epoch: string): Lineage {
    const key = `${channel} ${epoch}`;
    let lineage = this.#lineages.get(key);
    if (lineage === undefined) {
      lineage = { values: new Map(), sorted: [] };
      this.#lineages.set(key, lineage);
    }
    return lineage;
  }

  has(value: string): boolean {
    return this.#placeOf.has(value);
  }

  found(channel: string, epoch: string, offset: number, value: string, by: string): void {
    const lineage = this.lineage(channel, epoch);
    const { values } = lineage;
    const known = values.get(offset);
    if (known === value) return;
    const place = `${channel} ${epoch}:${offset}`;
    if (known !== undefined)
      return this.#report("C3", `${place} is ${known} and, to ${by}, ${value}`);
    values.set(offset, value);
    const publication = this.#published.get(value);
    if (publication === undefined || publication.channel !== channel)
      this.#report("C6", `${by} found ${value} at ${place}, which nobody published there`);
    else if (publication.outcome === "failed")
      this.#report(
        "C6",
        `${by} found ${value} at ${place}, though its publisher was told that it failed`,
      );
    const other = this.#placeOf.get(value);
    if (other === undefined) this.#placeOf.set(value, { place, lineage });
    else if (!this.#hasLostPower || other.lineage === lineage)
      this.#report("C2", `${value} is at ${other.place} and, to ${by}, at ${place}`);
  }

  /** All is found: sorts the offsets, and checks that no publisher's order changed. */
  settle(): void {
    const turn = new Map<string, number>();
    for (const value of this.#published.keys()) turn.set(value, turn.size);
    for (const [key, lineage] of this.#lineages) {
      lineage.sorted = [...lineage.values.keys()].sort((a, b) => a - b);
      const latest = new Map<string, string>();
      for (const offset of lineage.sorted) {
        const value = lineage.values.get(offset) ?? "";
        const publisher = this.#published.get(value)?.publisher;
        if (publisher === undefined) continue;
        const before = latest.get(publisher);
        if (
          !this.#hasLostPower &&
          before !== undefined &&
          (turn.get(value) ?? 0) < (turn.get(before) ?? 0)
        )
          this.#report(
            "C7",
            `${publisher} published ${value} before ${before}, but in ${key} it is behind it`,
          );
        latest.set(publisher, value);
      }
    }
  }
}
