// Links UpstreamSync to the relays: passes registries in and this lb's counts out.

import type { NamedRelay } from "../../runtime/arguments.ts";
import { Link } from "../../runtime/link.ts";
import type { Logger } from "../../runtime/log.ts";
import {
  EXPIRE_INTERVAL_MS,
  REPORT_INTERVAL_MS,
  type UpstreamReport,
  type UpstreamSync,
} from "./upstream-sync.ts";

export type DirectoryOptions = {
  readonly id: string;
  readonly sync: UpstreamSync;
  readonly relays: readonly NamedRelay[];
  readonly secret: string;
  readonly log: Logger;
};

export class Directory {
  readonly #options: DirectoryOptions;
  readonly #links = new Map<string, Link>();
  readonly #timers: ReturnType<typeof setInterval>[];
  #address = "";
  #onKnown: (() => void) | undefined;

  constructor(options: DirectoryOptions) {
    this.#options = options;
    const { sync, relays } = options;
    for (const relay of relays) this.#links.set(relay.id, this.#link(relay));
    this.#timers = [
      setInterval(() => sync.reportCounts(false), REPORT_INTERVAL_MS),
      setInterval(() => sync.expireMembers(), EXPIRE_INTERVAL_MS),
    ];
  }

  /** Resolves when a relay has sent its registry. */
  known(): Promise<void> {
    return new Promise((resolve) => {
      this.#onKnown = resolve;
    });
  }

  /** This lb's address for the registry. */
  announce(address: string): void {
    this.#address = address;
    this.#options.sync.reportCounts(true);
  }

  sendReport({ connections, counts }: UpstreamReport): void {
    const address = this.#address;
    for (const link of this.#links.values())
      link.sendMessage({ type: "register", address, state: "up", connections, counts });
  }

  stop(): void {
    for (const timer of this.#timers) clearInterval(timer);
    for (const link of this.#links.values()) link.close();
  }

  #link(relay: NamedRelay): Link {
    const { id, log, sync, secret } = this.#options;
    return new Link(
      { address: relay.address, secret, role: "lb", id },
      {
        welcome: ({ uptimeMs }) => {
          log.info({ relay: relay.id }, "linked to the relay");
          this.#links.get(relay.id)?.sendMessage({ type: "watch" });
          sync.relayLinked(relay.id, uptimeMs);
        },
        publication: () => {},
        message: (message) => {
          sync.relayMessage(relay.id, message);
          if (message.type === "registry") this.#onKnown?.();
        },
        invalidMessage: ({ reason }) =>
          log.warn({ relay: relay.id, reason }, "a message of the relay is malformed"),
        lost: (reason, wasUp) => {
          if (wasUp)
            log.warn({ relay: relay.id, reason }, "lost the relay; the nodes stay as last known");
          sync.relayLost(relay.id);
        },
      },
    );
  }
}
