// TLS over an existing connection, so that the listener does not depend on the certificates, and a
// PROXY header may come first. This file covers the parts of `upgradeTLS` that Bun's types lack:
// the server side, prepared contexts, bytes already read, and the callback that selects a
// certificate by name.

import type { Logger } from "../../runtime/log.ts";
import {
  codeOf,
  NOBODY,
  type OwnedSocket,
  type SocketOwner,
  socketCallbacks,
} from "../net/socket-owner.ts";
import type { Certificates } from "./certificate-files.ts";

/** Length and name in ALPN format (RFC 7301). */
const ALPN = "\x08http/1.1";

/**
 * Begins the handshake on a new connection; returns the TLS socket that replaces it. `peer` owns
 * it: it is called when the handshake is complete, and from then on as for any socket. `first`:
 * bytes already read from the connection.
 */
export type Secure = (
  connection: OwnedSocket,
  peer: SocketOwner,
  first: Buffer | undefined,
) => OwnedSocket;

export function secureWith(certificates: Certificates, log: Logger): Secure {
  const callbacks = socketCallbacks(log, () => {});
  const socket = {
    ...callbacks,
    handshake(secured: OwnedSocket, isDone: boolean) {
      if (isDone) secured.data.socketOpened(secured);
      else secured.terminate();
    },
    serverName: (_peer: SocketOwner, name: string): unknown => certificates.choose(name)?.context,
    error(secured: OwnedSocket, error: Error) {
      if (codeOf(error) !== "EPROTO") return callbacks.error(secured, error);
      // The record was tampered with: not an internal error, and not an end that may be forwarded
      // as a clean one, which is what Bun would do.
      const peer = secured.data;
      secured.data = NOBODY;
      secured.terminate();
      peer.socketClosed(true);
    },
  };
  return (connection, peer, first) => {
    const context: unknown = certificates.first.context;
    const tls = {
      secureContext: context,
      ALPNProtocols: ALPN,
      requestCert: false,
      rejectUnauthorized: false,
    };
    const options = { isServer: true, initialData: first, tls, socket, data: peer };
    const [below, secured] = connection.upgradeTLS<SocketOwner>(options);
    connection.data = NOBODY;
    below.data = NOBODY;
    return secured;
  };
}
