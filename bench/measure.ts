// Measures CPU and memory of whole process trees, as the kernel counts them, in alternating rounds;
// computes medians.

import { readdirSync, readFileSync } from "node:fs";

const TICK_US = 10_000;

/** The figures of one contestant in one case: by name, a value for each round. */
export type Measurement = {
  /** The case, such as "64 B, 1 in flight": contestants of one case are compared. */
  readonly what: string;
  readonly who: string;
  readonly figures: Readonly<Record<string, readonly number[]>>;
};

type Stat = { parent: number; cpuUs: number };

function statOf(pid: number | string): Stat | undefined {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)?.split(" ") ?? [];
    return {
      parent: Number(fields[1]),
      cpuUs: (Number(fields[11]) + Number(fields[12])) * TICK_US,
    };
  } catch {
    return undefined; // The process has ended.
  }
}

/** These processes and all their descendants. */
export function treesOf(roots: readonly number[]): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync("/proc")) {
    const stat = /^\d+$/.test(name) ? statOf(name) : undefined;
    if (stat !== undefined) parents.set(Number(name), stat.parent);
  }
  const isWithin = (pid: number | undefined): boolean =>
    pid !== undefined && (roots.includes(pid) || isWithin(parents.get(pid)));
  return [...parents.keys()].filter(isWithin);
}

/** User and system time of these processes so far, in µs. */
export const cpuUsOf = (pids: readonly number[]): number =>
  pids.reduce((sum, pid) => sum + (statOf(pid)?.cpuUs ?? 0), 0);

/** Private memory of these processes, in KB. */
export function memoryKbOf(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => {
    const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
    const kb = (field: string) =>
      Number(new RegExp(`^${field}: +(\\d+)`, "m").exec(rollup)?.[1] ?? 0);
    return sum + kb("Private_Clean") + kb("Private_Dirty");
  }, 0);
}

/** Counts the CPU time of process trees from its construction on. */
export class Stopwatch {
  readonly #pids: readonly number[];
  readonly #cpuUs: number;
  readonly #startedMs = performance.now();

  constructor(roots: readonly number[]) {
    this.#pids = treesOf(roots);
    this.#cpuUs = cpuUsOf(this.#pids);
  }

  get cpuUs(): number {
    return cpuUsOf(this.#pids) - this.#cpuUs;
  }

  get seconds(): number {
    return (performance.now() - this.#startedMs) / 1000;
  }

  /** The average number of busy cores. */
  get cores(): number {
    return this.cpuUs / 1e6 / this.seconds;
  }
}

/** Figures by name. */
export type Figures = Readonly<Record<string, number>>;

/**
 * Measures every contestant once per round, in turns (A B A B), so that other activity on the
 * machine affects all alike.
 */
export async function inTurns<C extends { readonly name: string }>(
  what: string,
  contestants: readonly C[],
  rounds: number,
  take: (contestant: C) => Promise<Figures>,
): Promise<Measurement[]> {
  const taken = contestants.map(({ name }) => ({
    what,
    who: name,
    figures: new Map<string, number[]>(),
  }));
  for (let round = 0; round < rounds; round++) {
    for (const [index, contestant] of contestants.entries()) {
      const { figures } = taken[index];
      for (const [name, value] of Object.entries(await take(contestant)))
        figures.set(name, [...(figures.get(name) ?? []), value]);
    }
  }
  return taken.map(({ figures, ...rest }) => ({ ...rest, figures: Object.fromEntries(figures) }));
}

export function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** The value below which `share` of the numbers lie. */
export function quantile(sorted: ArrayLike<number>, share: number): number {
  return sorted.length === 0
    ? Number.NaN
    : sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
}
