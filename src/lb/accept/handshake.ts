// A connection before HTTP: the PROXY header, if required, then the TLS handshake, if there is TLS.
// Both must complete by the head deadline.

import type { HttpFault } from "../http/faults.ts";
import type { Expiring } from "../net/expiring.ts";
import type { OwnedSocket, SocketOwner } from "../net/socket-owner.ts";
import { ConnectionSlot } from "./admission.ts";
import { readProxyHeader } from "./proxy-protocol.ts";
import type { Secure } from "./tls.ts";

/** What is known about a client apart from its bytes. */
export type TransportInfo = {
  readonly scheme: "http" | "https";
  /** The address from the PROXY header; undefined: the socket's own. */
  readonly address: string | undefined;
  /** The PROXY header names no client, so no forwarding field is trusted. */
  readonly isAnonymous: boolean;
};

export const PLAIN: TransportInfo = { scheme: "http", address: undefined, isAnonymous: false };
const SECURE: TransportInfo = { ...PLAIN, scheme: "https" };

/** The parts of the lb that a handshake uses. */
export interface HandshakePort {
  /** Undefined: no TLS. */
  readonly secure: Secure | undefined;
  /** The set of the sweep that it belongs to. */
  setOf(verdict: ConnectionSlot | HttpFault): Set<Expiring>;
  /** The deadline for the handshake. */
  deadlineMs(): number;
  /** The client's real address is known; it may exceed its limit. */
  locate(slot: ConnectionSlot, address: string): ConnectionSlot | HttpFault;
  /** HTTP begins. `verdict`: its slot, or why it gets none. */
  handshakeDone(
    socket: OwnedSocket,
    verdict: ConnectionSlot | HttpFault,
    transport: TransportInfo,
  ): void;
  /** The connection ended during the handshake. */
  handshakeFailed(): void;
}

export class Handshake implements SocketOwner, Expiring {
  expiresMs: number;
  readonly #port: HandshakePort;
  #socket: OwnedSocket;
  readonly #all: Set<Expiring>;
  /** Its slot, or why it gets none. */
  #verdict: ConnectionSlot | HttpFault;
  #transport: TransportInfo;
  /** The header bytes so far. */
  #header: Buffer = Buffer.alloc(0);

  constructor(
    port: HandshakePort,
    socket: OwnedSocket,
    verdict: ConnectionSlot | HttpFault,
    needsHeader: boolean,
  ) {
    this.#port = port;
    this.#socket = socket;
    this.#verdict = verdict;
    this.#transport = port.secure === undefined ? PLAIN : SECURE;
    this.expiresMs = port.deadlineMs();
    this.#all = port.setOf(verdict);
    this.#all.add(this);
    socket.data = this;
    if (!needsHeader) this.#proceed(undefined);
  }

  /** Called for the plain connection only, while its header is incomplete. */
  bytesReceived(chunk: Buffer): void {
    const bytes = this.#header.length === 0 ? chunk : Buffer.concat([this.#header, chunk]);
    this.#header = bytes;
    const header = readProxyHeader(bytes);
    if (header === "incomplete") return;
    if (header === "invalid") return this.#socket.terminate();
    const { address, isSecure } = header;
    const scheme = isSecure ? "https" : this.#transport.scheme;
    this.#transport = { scheme, address, isAnonymous: address === undefined };
    if (address !== undefined && this.#verdict instanceof ConnectionSlot)
      this.#verdict = this.#port.locate(this.#verdict, address);
    this.#proceed(header.bytes < bytes.length ? bytes.subarray(header.bytes) : undefined);
  }

  /** The handshake is complete. */
  socketOpened(socket: OwnedSocket): void {
    this.#all.delete(this);
    this.#port.handshakeDone(socket, this.#verdict, this.#transport);
  }

  /** The client sent its FIN before any request. */
  endReceived(): void {
    this.#socket.terminate();
  }

  socketClosed(): void {
    this.#all.delete(this);
    this.#port.handshakeFailed();
    if (this.#verdict instanceof ConnectionSlot) this.#verdict.release();
  }

  expired(): void {
    this.#socket.terminate();
  }

  stop(): void {
    this.#socket.terminate();
  }

  #proceed(rest: Buffer | undefined): void {
    const { secure } = this.#port;
    if (secure !== undefined) {
      this.#socket = secure(this.#socket, this, rest);
      return;
    }
    this.socketOpened(this.#socket);
    if (rest !== undefined) this.#socket.data.bytesReceived(rest);
  }

  socketDrained(): void {}
  dialFailed(): void {}
}
