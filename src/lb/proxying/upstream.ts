// One connection to a node, used by one client at a time: dialed, used for one exchange after the
// other, given up once.

import { dial } from "../net/dial.ts";
import type { OwnedSocket, SocketOwner } from "../net/socket-owner.ts";
import { SocketWriter } from "../net/socket-writer.ts";
import type { Lease } from "../upstreams/dispatch.ts";
import type { DialPort } from "./context.ts";
import type { DetachedUpstream } from "./tunnel.ts";

/** The exchange that uses the connection now. */
export interface UpstreamUser {
  upstreamOpened(): void;
  /** The dial failed; the connection is given up already. */
  upstreamUnreachable(): void;
  upstreamReceived(chunk: Buffer): void;
  upstreamDrained(): void;
  upstreamEnded(): void;
  upstreamClosed(): void;
}

export class Upstream implements SocketOwner {
  readonly lease: Lease;
  /** When the last exchange left it idle. */
  idleSinceMs = 0;
  readonly #port: DialPort;
  #user: UpstreamUser | undefined;
  #state: "dialing" | "open" | "abandoned" | "closed" = "dialing";
  #socket: OwnedSocket | undefined;
  #writer: SocketWriter | undefined;
  #place: number | undefined;

  constructor(lease: Lease, user: UpstreamUser, port: DialPort) {
    this.lease = lease;
    this.#user = user;
    this.#port = port;
  }

  dial(): void {
    this.#port.upstreams++;
    this.lease.node.backlog.dial();
    dial(this.lease.node.address, this, this.#port.callbacks);
  }

  get isOpen(): boolean {
    return this.#state === "open";
  }

  get isBlocked(): boolean {
    return this.#writer?.isBlocked === true;
  }

  /** The next exchange takes over. */
  use(user: UpstreamUser): void {
    this.lease.node.idle.delete(this);
    this.#user = user;
  }

  /** Kept idle until the next exchange, unless its place on the node is needed. */
  rest(nowMs: number): void {
    this.lease.node.idle.add(this);
    this.#user = undefined;
    this.idleSinceMs = nowMs;
    this.#socket?.resume();
  }

  /** Where requests are written; undefined until it is open. */
  get output(): SocketWriter | undefined {
    return this.#writer;
  }

  pause(): void {
    this.#socket?.pause();
  }

  resume(): void {
    this.#socket?.resume();
  }

  /**
   * Ends it and gives its place on the node back. An exchange cut short is aborted (RST); an idle
   * one ends with a FIN.
   */
  giveUp(how: "end" | "abort"): void {
    this.#user = undefined;
    this.lease.node.idle.delete(this);
    if (this.#state === "open" && how === "end") this.#socket?.end();
    else if (this.#state === "open") this.#socket?.terminate();
    if (this.#state !== "closed") this.#state = "abandoned";
    this.lease.release();
  }

  /** Hands the socket over, to become a leg of a tunnel; the lease goes with it. */
  detach(): DetachedUpstream | undefined {
    this.#state = "closed";
    this.#user = undefined;
    if (this.#socket === undefined) return undefined;
    return { socket: this.#socket, lease: this.lease, unsent: this.#writer?.unsent };
  }

  socketOpened(socket: OwnedSocket): void {
    this.#socket = socket;
    this.#writer = new SocketWriter(socket);
    this.#place = this.lease.node.backlog.dialOpened();
    if (this.#state === "abandoned") return socket.terminate();
    this.#state = "open";
    this.#user?.upstreamOpened();
  }

  bytesReceived(chunk: Buffer): void {
    if (this.#place !== undefined) {
      this.lease.node.backlog.answered(this.#place);
      this.#place = undefined;
      this.#port.nodeAnswered();
    }
    if (this.#user !== undefined) this.#user.upstreamReceived(chunk);
    else if (this.#state === "open") this.#socket?.terminate();
  }

  socketDrained(): void {
    if (this.#writer?.writeUnsent() === true) this.#user?.upstreamDrained();
  }

  endReceived(): void {
    if (this.#user !== undefined) this.#user.upstreamEnded();
    else this.#socket?.end();
  }

  socketClosed(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#port.upstreams--;
    this.lease.node.idle.delete(this);
    this.#user?.upstreamClosed();
    this.lease.release();
  }

  dialFailed(code: string): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#port.upstreams--;
    this.lease.node.backlog.dialFailed();
    this.lease.release();
    this.#port.dialFailed(this.lease, code);
    this.#user?.upstreamUnreachable();
  }
}
