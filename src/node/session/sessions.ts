// All sessions of this node, and what is looked after for all of them: who is silent, who reads too
// slowly, who waits for its turn. No timer of its own, and none per session.

import type { ClientSession } from "./session.ts";

/**
 * Sessions are visited in so many groups per ping interval, so that the pings do not all go out at
 * once.
 */
export const GROUPS = 20;
/**
 * Liveness checks in a row that may find a client silent, each a whole ping interval after the one
 * before.
 */
const SILENCES_MAX = 2;

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
    session.group = this.#joining;
    this.#groups[session.group].add(session);
    this.#joining = (this.#joining + 1) % GROUPS;
    this.#size++;
  }

  delete(session: ClientSession): void {
    if (this.#groups[session.group].delete(session)) this.#size--;
  }

  /**
   * Visits the next group: pings everyone in it and closes those who have been silent for two ping
   * intervals. Call it GROUPS times per interval. `isLate`: we may have slept, and what they said
   * may still wait to be read.
   */
  visitNext(isLate: boolean): void {
    for (const session of this.#groups[this.#visiting]) {
      session.silences = session.isHeard || isLate ? 0 : session.silences + 1;
      session.isHeard = false;
      session.forgive();
      if (session.silences >= SILENCES_MAX) session.close("silent");
      else session.ping();
    }
    this.#visiting = (this.#visiting + 1) % GROUPS;
  }

  /** Ends what has taken too long, and who reads too slowly. */
  check(nowMs: number): void {
    for (const group of this.#groups) for (const session of group) session.check(nowMs);
  }
}
