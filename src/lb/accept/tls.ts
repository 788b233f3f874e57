// TLS over a connection that is there already, so that the listener stays one and the same whatever
// becomes of the certificates, and a PROXY header may come first. What Bun's types do not know of
// `upgradeTLS` is all in here: the server's side, ready-made contexts, bytes that have come
// already, and the callback that chooses a certificate by name.

import type { Logger } from "../../runtime/log.ts";
import {
  codeOf,
  NOBODY,
  type OwnedSocket,
  type SocketOwner,
  socketCallbacks,
} from "../net/socket-owner.ts";
import type { Certificates } from "./certificate-files.ts";

/** Length and name, as ALPN has it (RFC 7301). */
const ALPN = "\x08http/1.1";

/**
 * Begins the handshake on a fresh connection; returns the TLS socket, which takes its place. `peer`
 * owns it: `opened` when the handshake is done; from then on it is like any other. `first`: bytes
 * that were read of the connection already.
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
      // Someone tampered with what came: no error of ours, and no end that may be passed on as one.
      // Bun would close it as if it were.
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
