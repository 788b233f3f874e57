// The registry of live processes: those that are linked to this relay and have registered, and the
// links that watch them.

import { encodeRelayMessage, type Member, type RelayMessageOf } from "../../wire/relay-messages.ts";
import type { RelayLink } from "./relay-link.ts";

export class Registry {
  readonly #members = new Map<string, { member: Member; link: RelayLink }>();
  readonly #watchers = new Set<RelayLink>();

  /**
   * Registers or updates a link's process. Returns the other link that registered as the same
   * process before, if any.
   */
  register(link: RelayLink, message: RelayMessageOf<"register">): RelayLink | undefined {
    const { address, state, connections, counts } = message;
    const member: Member = { role: link.role, id: link.name, address, state, connections, counts };
    const known = this.#members.get(link.key);
    this.#members.set(link.key, { member, link });
    this.#sendToWatchers(encodeRelayMessage({ type: "registered", member }));
    return known !== undefined && known.link !== link ? known.link : undefined;
  }

  /** Sends the link all members now, and every change from now on. */
  addWatcher(link: RelayLink): void {
    const members = [...this.#members.values()].map(({ member }) => member);
    link.send(encodeRelayMessage({ type: "registry", members }));
    this.#watchers.add(link);
  }

  /** The link is gone: removes its membership. */
  linkClosed(link: RelayLink): void {
    this.#watchers.delete(link);
    if (this.#members.get(link.key)?.link !== link) return;
    this.#members.delete(link.key);
    this.#sendToWatchers(encodeRelayMessage({ type: "departed", role: link.role, id: link.name }));
  }

  #sendToWatchers(frame: Uint8Array): void {
    for (const watcher of this.#watchers) watcher.send(frame);
  }
}
