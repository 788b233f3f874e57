// All sessions of this node, and their periodic checks: liveness, slow readers, deadlines. No timer
// of its own, and none per session.

import type { ClientSession } from "./session.ts";

/** Groups of sessions per ping interval, so that the pings do not all go out at once. */
export const GROUPS = 20;

export class Sessions {
  readonly #groups: readonly Set<ClientSession>[] = Array.from({ length: GROUPS }, () => new Set());
  #size = 0;
  #joining = 0;
  #visiting = 0;

  get size(): number {
    return this.#size;
  }

  *[Symbol.iterator](): Generator<ClientSession, void> {
    for (const group of this.#groups) yield* group;
  }

  add(session: ClientSession): void {
    this.#groups[this.#joining].add(session);
    this.#joining = (this.#joining + 1) % GROUPS;
    this.#size++;
  }

  delete(session: ClientSession): void {
    if (this.#groups.some((group) => group.delete(session))) this.#size--;
  }

  /**
   * Checks the liveness of the next group. Call it GROUPS times per ping interval. `isLate`: the
   * process may have slept, and what clients sent may wait to be read.
   */
  visitNext(isLate: boolean): void {
    for (const session of this.#groups[this.#visiting]) session.checkLiveness(isLate);
    this.#visiting = (this.#visiting + 1) % GROUPS;
  }

  /** Ends what has taken too long, and slow readers. */
  check(nowMs: number, wallMs: number): void {
    for (const group of this.#groups)
      for (const session of group) session.checkDeadlines(nowMs, wallMs);
  }
}
