// A connection that is not HTTP yet: first the PROXY header, where one is due, then the TLS
// handshake, where there is TLS. Both must be done by the deadline of a head.

import type { HttpFault } from "../http/faults.ts";
import type { Expiring } from "../net/expiring.ts";
import type { OwnedSocket, SocketOwner } from "../net/socket-owner.ts";
import { ConnectionSlot } from "./admission.ts";
import { readProxyHeader } from "./proxy-protocol.ts";
import type { Secure } from "./tls.ts";

/** What is known of a client besides its bytes. */
export type TransportInfo = {
  readonly scheme: "http" | "https";
  /** As a proxy told it; undefined: the socket's own. */
  readonly address: string | undefined;
  /** A proxy brings it and does not say whose it is: nothing that it claims is believed. */
  readonly isAnonymous: boolean;
};

export const PLAIN: TransportInfo = { scheme: "http", address: undefined, isAnonymous: false };
const SECURE: TransportInfo = { ...PLAIN, scheme: "https" };

/** What a handshake needs of the rest of the lb. */
export interface HandshakePort {
  /** Undefined: there is no TLS. */
  readonly secure: Secure | undefined;
  /** In which set of the sweep it belongs. */
  setOf(verdict: ConnectionSlot | HttpFault): Set<Expiring>;
  /** When it must be HTTP. */
  deadlineMs(): number;
  /** The client's real address has become known: it may be one too many. */
  locate(slot: ConnectionSlot, address: string): ConnectionSlot | HttpFault;
  /** It is HTTP from here on. `verdict`: its place in this lb, or why it gets none. */
  handshakeDone(
    socket: OwnedSocket,
    verdict: ConnectionSlot | HttpFault,
    transport: TransportInfo,
  ): void;
  /** It ended before. */
  handshakeFailed(): void;
}

export class Handshake implements SocketOwner, Expiring {
  expiresMs: number;
  readonly #port: HandshakePort;
  #socket: OwnedSocket;
  readonly #all: Set<Expiring>;
  /** Its place in this lb, or why it gets none. */
  #verdict: ConnectionSlot | HttpFault;
  #transport: TransportInfo;
  /** What has come of the header. */
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

  /** Comes of the plain connection only, while its header is due. */
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

  /** The handshake is done. */
  socketOpened(socket: OwnedSocket): void {
    this.#all.delete(this);
    this.#port.handshakeDone(socket, this.#verdict, this.#transport);
  }

  /** The other side has ended before it said anything. */
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
