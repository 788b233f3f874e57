// A relay link on a real socket: binds Bun.connect and the system's clock and randomness to the
// link's core.

import { NONCE_BYTES } from "../wire/proof.ts";
import { systemClock } from "./clock.ts";
import { LinkCore, type LinkEvents, type LinkIdentity, type LinkPorts } from "./link-core.ts";

export type RelayAddress = { readonly host: string; readonly port: number };
export type LinkOptions = LinkIdentity & { readonly address: RelayAddress };

export class Link extends LinkCore {
  /** Dials at once. */
  constructor(options: LinkOptions, events: LinkEvents) {
    super(options, events, portsTo(options.address));
  }
}

const portsTo = ({ host: hostname, port }: RelayAddress): LinkPorts => ({
  clock: systemClock,
  random: Math.random,
  createNonce: () => crypto.getRandomValues(new Uint8Array(NONCE_BYTES)),
  dial: (link, attempt) => {
    Bun.connect({
      hostname,
      port,
      socket: {
        open: (socket) => link.opened(attempt, socket),
        data: (_, chunk) => link.received(attempt, chunk),
        drain: () => link.drained(attempt),
        close: () => link.disconnected(attempt, "closed"),
        error: (_, error) => link.disconnected(attempt, error.message),
        connectError: () => link.disconnected(attempt, "unreachable"),
      },
    }).catch(() => link.disconnected(attempt, "unreachable"));
  },
});
