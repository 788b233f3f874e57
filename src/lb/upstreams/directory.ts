// Keeps the pool equal to what is known of the nodes: fixed upstreams from the command line, or the
// registries of the relays, to which it also reports what this lb counts.

import {
  type Address,
  formatAddress,
  type NamedRelay,
  parseAddress,
} from "../../runtime/arguments.ts";
import { Link } from "../../runtime/link.ts";
import type { Logger } from "../../runtime/log.ts";
import type { Member, RelayMessage } from "../../wire/relay-messages.ts";
import { cookieValue } from "../http/keyed.ts";
import type { HealthChecks } from "./checks.ts";
import { Membership, sumCounts } from "./membership.ts";
import { type Pool, PoolNode } from "./pool.ts";

/**
 * Dials to a node behind a unix socket, not known to be accepted, of all lbs together: half of
 * Bun's backlog of 512.
 */
const DIALS_MAX = 256;
const REPORT_INTERVAL_MS = 100;
const EXPIRE_INTERVAL_MS = 500;

export type Surroundings = {
  readonly id: string;
  readonly pool: Pool;
  readonly checks: HealthChecks;
  readonly log: Logger;
  /** What cookies are derived from. */
  readonly key: string;
  /** A node came, or may be chosen again. */
  readonly poolChanged: () => void;
};

/** Puts fixed upstreams into the pool; each is named by its address. */
export function addUpstreams(addresses: readonly Address[], around: Surroundings): void {
  for (const address of addresses) admit(formatAddress(address), formatAddress(address), around);
}

/** The node, there and checked from now on as if new. */
function admit(id: string, addressText: string, { pool, checks, key }: Surroundings): PoolNode {
  const address = parseAddress(addressText, "address");
  const node = pool.node(id) ?? new PoolNode(id, address, cookieValue(key, id));
  node.address = address;
  node.adminState = "open";
  node.backlog.max = "unix" in address && checks.proveAcceptance ? DIALS_MAX : 0;
  pool.addNode(node);
  checks.watch(node);
  pool.nodeBecameAvailable(node, performance.now());
  return node;
}

export class Directory {
  readonly #around: Surroundings;
  readonly #membership: Membership;
  readonly #links = new Map<string, Link>();
  readonly #timers: ReturnType<typeof setInterval>[];
  readonly #connections: () => number;
  #address = "";
  #reported = "";
  #onKnown: (() => void) | undefined;

  /** `connections`: the lb's clients, as the registry shows them. */
  constructor(
    around: Surroundings,
    relays: readonly NamedRelay[],
    secret: string,
    connections: () => number,
  ) {
    this.#around = around;
    this.#connections = connections;
    this.#membership = new Membership(around.id);
    for (const relay of relays) this.#links.set(relay.id, this.#link(relay, secret));
    this.#timers = [
      setInterval(() => this.#report(false), REPORT_INTERVAL_MS),
      setInterval(() => this.#expire(), EXPIRE_INTERVAL_MS),
    ];
  }

  /** Resolves when some relay has told its registry. */
  known(): Promise<void> {
    return new Promise((resolve) => {
      this.#onKnown = resolve;
    });
  }

  /** Where this lb listens, for the registry. */
  announce(address: string): void {
    this.#address = address;
    this.#report(true);
  }

  stop(): void {
    for (const timer of this.#timers) clearInterval(timer);
    for (const link of this.#links.values()) link.close();
  }

  #link(relay: NamedRelay, secret: string): Link {
    const { id, log } = this.#around;
    return new Link(
      { address: relay.address, secret, role: "lb", id },
      {
        welcome: ({ uptimeMs }) => {
          log.info({ relay: relay.id }, "linked to the relay");
          this.#membership.welcomed(relay.id, uptimeMs, performance.now());
          this.#links.get(relay.id)?.sendMessage({ type: "watch" });
          this.#report(true);
        },
        publication: () => {},
        message: (message) => this.#told(relay.id, message),
        lost: (reason, wasUp) => {
          if (wasUp)
            log.warn({ relay: relay.id, reason }, "lost the relay; the nodes stay as last known");
          this.#membership.lost(relay.id);
          this.#sync();
        },
      },
    );
  }

  #told(relay: string, message: RelayMessage): void {
    if (message.type === "registry")
      this.#membership.registry(relay, message.members, performance.now());
    else if (message.type === "registered") this.#membership.registered(relay, message.member);
    else if (message.type === "departed")
      this.#membership.departed(relay, message.role, message.id);
    else return;
    this.#sync();
    if (message.type === "registry") this.#onKnown?.();
  }

  #expire(): void {
    this.#membership.expire(performance.now());
    this.#sync();
  }

  /** Makes the pool equal to the membership. */
  #sync(): void {
    const { pool, checks, log } = this.#around;
    const members = new Map(this.#membership.nodes().map((member) => [member.id, member]));
    for (const node of [...pool.nodes]) {
      if (members.has(node.id) || node.adminState === "gone") continue;
      log.info({ node: node.id }, "node left");
      checks.forget(node);
      pool.removeNode(node);
    }
    for (const member of members.values()) this.#admitMember(member);
    const others = this.#membership.otherLbs();
    const elsewhere = sumCounts(others);
    for (const node of pool.nodes) {
      node.connectionsOnOtherLbs = elsewhere.get(node.id) ?? 0;
      if (node.backlog.max > 0)
        node.backlog.max = Math.max(1, Math.floor(DIALS_MAX / (others.length + 1)));
    }
    this.#around.poolChanged();
  }

  #admitMember(member: Member): void {
    const { pool, log } = this.#around;
    let node = pool.node(member.id);
    if (
      node === undefined ||
      node.adminState === "gone" ||
      formatAddress(node.address) !== member.address
    ) {
      try {
        node = admit(member.id, member.address, this.#around);
      } catch (error) {
        log.error({ node: member.id, err: error }, "a node with an address that cannot be used");
        return;
      }
      log.info({ node: member.id, address: member.address }, "node came");
    }
    const standing = member.state === "up" ? "open" : "closed";
    if (node.adminState === standing) return;
    node.adminState = standing;
  }

  /** Tells the relays what this lb counts, when that has changed. */
  #report(always: boolean): void {
    const counts: Record<string, number> = {};
    for (const node of this.#around.pool.nodes)
      if (node.connections > 0) counts[node.id] = node.connections;
    const connections = this.#connections();
    const report = JSON.stringify([connections, counts]);
    if (!always && report === this.#reported) return;
    this.#reported = report;
    for (const link of this.#links.values())
      link.sendMessage({
        type: "register",
        address: this.#address,
        state: "up",
        connections,
        counts,
      });
  }
}
