// The log as all clients together observed it: which value is at which offset of which lineage.
// Reports contradictions between observations. Pure.

import type { History, Publication, Report } from "./history.ts";

/** One lineage of one channel; `sorted`: its known offsets in order. */
export type Lineage = { readonly values: Map<number, string>; sorted: number[] };

export class ObservedLog {
  readonly #lineages = new Map<string, Lineage>();
  readonly #positionOf = new Map<
    string,
    { readonly position: string; readonly lineage: Lineage }
  >();
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

  hasSeen(value: string): boolean {
    return this.#positionOf.has(value);
  }

  /** A client received `value` at this position, or had it acknowledged there. */
  valueSeen(channel: string, epoch: string, offset: number, value: string, by: string): void {
    const lineage = this.lineage(channel, epoch);
    const { values } = lineage;
    const known = values.get(offset);
    if (known === value) return;
    const position = `${channel} ${epoch}:${offset}`;
    if (known !== undefined)
      return this.#report("C3", `${position} is ${known} and, to ${by}, ${value}`);
    values.set(offset, value);
    const publication = this.#published.get(value);
    if (publication === undefined || publication.channel !== channel)
      this.#report("C6", `${by} found ${value} at ${position}, where it was not published`);
    else if (publication.outcome === "failed")
      this.#report("C6", `${by} found ${value} at ${position}, although its publish failed`);
    const other = this.#positionOf.get(value);
    if (other === undefined) this.#positionOf.set(value, { position, lineage });
    else if (!this.#hasLostPower || other.lineage === lineage)
      this.#report("C2", `${value} is at ${other.position} and, to ${by}, at ${position}`);
  }

  /** Called after the last observation: sorts the offsets and checks each publisher's order. */
  checkPublisherOrder(): void {
    const rank = new Map<string, number>();
    for (const value of this.#published.keys()) rank.set(value, rank.size);
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
          (rank.get(value) ?? 0) < (rank.get(before) ?? 0)
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
