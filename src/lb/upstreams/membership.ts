// Merges the registries of several relays: the nodes, and the connections that other lbs count. A
// relay that is disconnected or has just restarted knows less than this lb, so its earlier members
// stay (fail static); the health checks decide.

import type { Member } from "../../wire/relay-messages.ts";

/**
 * A relay's registry is empty when it starts and fills as links reconnect; until then, a missing
 * node means nothing.
 */
export const REFILL_MS = 5000;

type Entry = { readonly member: Member; readonly heard: number };

type View = {
  isLive: boolean;
  /** Until this time, members that the relay has not confirmed since its start are kept. */
  refillsUntilMs: number;
  readonly confirmed: Map<string, Entry>;
  /** Members from before the link was lost. */
  readonly remembered: Map<string, Entry>;
};

export class Membership {
  readonly #ownId: string;
  readonly #views = new Map<string, View>();
  /**
   * When a member last left, while another relay still confirms it: that relay may know less, or be
   * about to fail.
   */
  readonly #departures = new Map<string, number>();
  #heard = 0;

  constructor(ownId: string) {
    this.#ownId = ownId;
  }

  /** A relay's link is up; `uptimeMs` tells whether its registry is still filling. */
  welcomed(relay: string, uptimeMs: number, nowMs: number): void {
    const view = this.#view(relay);
    this.#remember(view);
    view.isLive = true;
    view.refillsUntilMs = nowMs + Math.max(0, REFILL_MS - uptimeMs);
  }

  lost(relay: string): void {
    const view = this.#view(relay);
    view.isLive = false;
    this.#remember(view);
  }

  /** The relay's current registry. */
  registry(relay: string, members: readonly Member[], nowMs: number): void {
    const view = this.#view(relay);
    view.confirmed.clear();
    for (const member of members) this.registered(relay, member);
    if (nowMs >= view.refillsUntilMs) view.remembered.clear();
  }

  registered(relay: string, member: Member): void {
    const view = this.#view(relay);
    const key = keyOf(member.role, member.id);
    view.confirmed.set(key, { member, heard: ++this.#heard });
    view.remembered.delete(key);
  }

  /** A member that a live relay reports as departed is removed, and forgotten for all relays. */
  departed(relay: string, role: string, id: string): void {
    const key = keyOf(role, id);
    this.#view(relay).confirmed.delete(key);
    this.#departures.set(key, ++this.#heard);
    for (const view of this.#views.values()) view.remembered.delete(key);
  }

  /** Drops members that a relay had time to confirm and did not. Called periodically. */
  expire(nowMs: number): void {
    for (const key of this.#departures.keys())
      if ([...this.#views.values()].every(({ confirmed }) => !confirmed.has(key)))
        this.#departures.delete(key);
    for (const view of this.#views.values()) {
      if (view.isLive && nowMs >= view.refillsUntilMs) view.remembered.clear();
    }
  }

  /** Every known node, in its latest state. */
  nodes(): Member[] {
    const latest = new Map<string, Entry>();
    for (const view of this.#views.values()) {
      for (const entries of [view.remembered, view.confirmed]) {
        for (const entry of entries.values()) {
          const known = latest.get(entry.member.id);
          if (entry.member.role === "node" && (known === undefined || known.heard < entry.heard))
            latest.set(entry.member.id, entry);
        }
      }
    }
    return [...latest.values()].map(({ member }) => member);
  }

  /** The other lbs with a link now; remembered ones would count forever. */
  otherLbs(): Member[] {
    const latest = new Map<string, Entry>();
    for (const { confirmed } of this.#views.values()) {
      for (const entry of confirmed.values()) {
        const { role, id } = entry.member;
        const known = latest.get(id);
        if (
          role === "lb" &&
          id !== this.#ownId &&
          (known === undefined || known.heard < entry.heard)
        )
          latest.set(id, entry);
      }
    }
    return [...latest.values()].map(({ member }) => member);
  }

  #view(relay: string): View {
    let view = this.#views.get(relay);
    if (view === undefined) {
      view = { isLive: false, refillsUntilMs: 0, confirmed: new Map(), remembered: new Map() };
      this.#views.set(relay, view);
    }
    return view;
  }

  /** Only nodes are remembered, and only those that have not departed since. */
  #remember(view: View): void {
    for (const [key, entry] of view.confirmed)
      if (entry.member.role === "node" && entry.heard > (this.#departures.get(key) ?? 0))
        view.remembered.set(key, entry);
    view.confirmed.clear();
  }
}

const keyOf = (role: string, id: string): string => `${role} ${id}`;

/** Connections per node id, summed over several lbs. */
export function sumCounts(lbs: readonly Member[]): Map<string, number> {
  const sums = new Map<string, number>();
  for (const { counts } of lbs) {
    for (const [node, count] of Object.entries(counts))
      sums.set(node, (sums.get(node) ?? 0) + count);
  }
  return sums;
}
