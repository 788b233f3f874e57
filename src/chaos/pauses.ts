// How long publishing and delivery stood still after each fault: the longest that anything which
// was under way then, or was begun since, had to wait for its answer or its arrival. Pure.

/** A fault that was made, such as "kill relay". */
export type Fault = { readonly kind: string; readonly atMs: number };

type Pause = Fault & { publishingMs: number; deliveryMs: number };

export type Spread = { readonly p50: number; readonly p99: number; readonly max: number };
/** The faults of one kind. `kind` "all": of every kind. */
export type Summary = {
  readonly kind: string;
  readonly count: number;
  readonly publishing: Spread;
  readonly delivery: Spread;
};

export class Pauses {
  readonly #pauses: Pause[] = [];

  get count(): number {
    return this.#pauses.length;
  }

  fault({ kind, atMs }: Fault): void {
    this.#pauses.push({ kind, atMs, publishingMs: 0, deliveryMs: 0 });
  }

  /** A publication that was handed over at `sinceMs` has been acknowledged. */
  publishing(sinceMs: number, nowMs: number): void {
    const latest = this.#pauses.at(-1);
    if (latest !== undefined)
      latest.publishingMs = Math.max(latest.publishingMs, waited(latest, sinceMs, nowMs));
  }

  /** A publication that was handed over at `sinceMs` has reached a subscriber. */
  delivery(sinceMs: number, nowMs: number): void {
    const latest = this.#pauses.at(-1);
    if (latest !== undefined)
      latest.deliveryMs = Math.max(latest.deliveryMs, waited(latest, sinceMs, nowMs));
  }

  /** By kind, and of all together. */
  summaries(): Summary[] {
    const byKind = Map.groupBy(this.#pauses, ({ kind }) => kind);
    const summaries = [...byKind].map(([kind, pauses]) => summaryOf(kind, pauses));
    return summaries.length < 2 ? summaries : [...summaries, summaryOf("all", this.#pauses)];
  }
}

/** Time from before the fault is not the fault's. */
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

export function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number) =>
    Math.round(sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0);
  return { p50: at(0.5), p99: at(0.99), max: at(1) };
}
