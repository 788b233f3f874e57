// The memory of a cluster's nodes and relays while something happens to them.

import type { ProcessStatus } from "../../src/cluster/report/status.ts";
import { eventually } from "../eventually.ts";
import { rssMb } from "../storm/watch.ts";
import type { MemoryMb } from "./report.ts";

const LOOK_MS = 100;
/** What a process may take for an attack, and what of it may be left when it is over. */
const PEAK_MB_MAX = 256;
const LEFT_MB_MAX = 128;
const CALM_WITHIN_MS = 10_000;

/** Looks at the memory of nodes and relays until it is disposed of. */
export class MemoryWatch implements Disposable {
  readonly #seen = new Map<string, { pid: number; before: number; peak: number }>();
  readonly #timer = setInterval(() => this.#look(), LOOK_MS);

  constructor(processes: readonly ProcessStatus[]) {
    for (const { id, pid, role } of processes) {
      if (pid === null || role === "lb") continue;
      const mb = rssMb(pid);
      this.#seen.set(id, { pid, before: mb, peak: mb });
    }
  }

  /** Resolves once what was taken is back, and says what is too much. A new process counts as well. */
  async calm(
    processes: readonly ProcessStatus[],
    wrong: string[],
  ): Promise<Record<string, MemoryMb>> {
    for (const { id, pid } of processes) {
      const seen = this.#seen.get(id);
      if (seen !== undefined && pid !== null) seen.pid = pid;
    }
    const grown = () =>
      [...this.#seen].filter(([, { pid, before }]) => now(pid) - before > LEFT_MB_MAX);
    const patience = { withinMs: CALM_WITHIN_MS };
    await eventually(grown, (left) => left.length === 0, patience).catch(() => {});
    for (const [id, { pid, before }] of grown())
      wrong.push(`${id} keeps ${(now(pid) - before).toFixed(0)} MB`);
    for (const [id, { before, peak }] of this.#seen)
      if (peak - before > PEAK_MB_MAX) wrong.push(`${id} took ${(peak - before).toFixed(0)} MB`);
    return Object.fromEntries(
      [...this.#seen].map(([id, { pid, before, peak }]) => [id, { before, peak, after: now(pid) }]),
    );
  }

  #look(): void {
    for (const each of this.#seen.values()) each.peak = Math.max(each.peak, now(each.pid) || 0);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

/** NaN where the process is gone. */
function now(pid: number): number {
  try {
    return rssMb(pid);
  } catch {
    return Number.NaN;
  }
}
