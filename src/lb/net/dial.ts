// Dials a node over TCP or a unix socket.

import type { Address } from "../../runtime/arguments.ts";
import { codeOf, type SocketCallbacks, type SocketOwner } from "./socket-owner.ts";

/** Calls either `socketOpened` or `dialFailed` of the owner, never both. */
export function dial(address: Address, owner: SocketOwner, callbacks: SocketCallbacks): void {
  const shared = { data: owner, socket: callbacks, allowHalfOpen: true };
  const dialing =
    "unix" in address
      ? Bun.connect<SocketOwner>({ ...shared, unix: address.unix })
      : Bun.connect<SocketOwner>({ ...shared, hostname: address.host, port: address.port });
  dialing.catch((error: unknown) => owner.dialFailed(codeOf(error)));
}
