// Two sockets that have become one WebSocket: what comes from one is written to the other, as it
// is. Each direction holds at most the chunk that its reader did not take; until that is gone its
// writer is not read.

import type { ConnectionSlot } from "../accept/admission.ts";
import type { TerminationCause } from "../http/termination.ts";
import type { Expiring } from "../net/expiring.ts";
import type { OwnedSocket, SocketOwner } from "../net/socket-owner.ts";
import { sendNow } from "../net/socket-writer.ts";
import type { Account } from "../telemetry/account.ts";
import type { Lease } from "../upstreams/dispatch.ts";
import type { LoadBalancerContext } from "./context.ts";
import { FrameScanner } from "./frame-scanner.ts";

/**
 * What a client connection leaves to a tunnel. `slot`: its place in this lb, given back when the
 * socket has closed.
 */
export type DetachedClient = {
  readonly socket: OwnedSocket;
  readonly slot: ConnectionSlot;
  readonly unsent: Buffer | undefined;
  /** What the client sent ahead. */
  readonly held: Buffer | undefined;
  readonly hasEnded: boolean;
};

/**
 * What a connection to a node leaves to a tunnel. `lease`: its place on the node, given back when
 * the socket has closed.
 */
export type DetachedUpstream = {
  readonly socket: OwnedSocket;
  readonly lease: Lease;
  readonly unsent: Buffer | undefined;
};

/** The exchange that became a tunnel. `first`: what the node sent right behind its 101. */
export type Switched = { readonly account: Account; readonly first: Buffer };

/** A close frame, as a server sends it: 1012, the service restarts (RFC 6455, 7.4). */
const GOODBYE = Buffer.from([0x88, 0x02, 1012 >> 8, 1012 & 0xff]);

export class Tunnel implements Expiring {
  expiresMs = Number.POSITIVE_INFINITY;
  readonly #context: LoadBalancerContext;
  readonly #slot: ConnectionSlot;
  readonly #lease: Lease;
  readonly #client: Leg;
  readonly #upstream: Leg;
  /**
   * `stalled`: a reader holds its writer up. `ending`: one side has ended. In both, movement the
   * other way buys no more time.
   */
  #state: "open" | "stalled" | "ending" = "open";
  /** Why it did not end by a FIN of either side. */
  #failure: TerminationCause | undefined;
  readonly #account: Account;

  constructor(
    context: LoadBalancerContext,
    client: DetachedClient,
    upstream: DetachedUpstream,
    { account, first }: Switched,
  ) {
    this.#context = context;
    this.#slot = client.slot;
    this.#lease = upstream.lease;
    this.#client = new Leg(this, client.socket);
    this.#upstream = new Leg(this, upstream.socket);
    this.#upstream.observe(first);
    this.#client.pairWith(this.#upstream);
    this.#upstream.pairWith(this.#client);
    this.#account = account;
    account.tunnelled();
    context.expiring.add(this);
    this.moved();
    this.#client.resume();
    this.#upstream.resume();
    if (client.unsent !== undefined) this.#upstream.pass(client.unsent);
    if (upstream.unsent !== undefined) this.#client.pass(upstream.unsent);
    if (client.held !== undefined) this.#client.bytesReceived(client.held);
    if (client.hasEnded) this.#client.endReceived();
  }

  moved(): void {
    if (this.#state === "open")
      this.expiresMs = this.#context.clock.nowMs + this.#context.options.numbers.tunnelTimeoutMs;
  }

  /** A reader took nothing, or only a part. */
  stalled(): void {
    if (this.#state === "ending") return;
    this.#state = "stalled";
    this.expiresMs = this.#context.clock.nowMs + this.#context.options.numbers.stallTimeoutMs;
  }

  /** The reader that held its writer up has caught up. */
  unstalled(): void {
    if (this.#state !== "stalled" || this.#client.isBlocked || this.#upstream.isBlocked) return;
    this.#state = "open";
    this.moved();
  }

  ending(): void {
    if (this.#state === "ending") return;
    this.#state = "ending";
    this.expiresMs = this.#context.clock.nowMs + this.#context.options.numbers.halfClosedTimeoutMs;
  }

  /**
   * With a node thousands of tunnels end at once, and each client that hears of it comes back: they
   * hear of it one by one.
   */
  passEnd(end: () => void, from: Leg): void {
    if (from === this.#upstream && !this.#client.hasEnded) this.#context.disconnects.enqueue(end);
    else end();
  }

  carried(leg: Leg, bytes: number): void {
    if (leg === this.#client) this.#account.sent(bytes);
    else this.#account.received(bytes);
  }

  /** A side was reset, and the tunnel was not ending anyway. */
  wasReset(leg: Leg): void {
    if (this.#state !== "ending")
      this.#failure ??= leg === this.#client ? "clientAborted" : "earlyClose";
  }

  legClosed(leg: Leg): void {
    if (leg === this.#client) {
      this.#slot.release();
    } else {
      this.#context.dials.upstreams--;
      this.#lease.release();
    }
    if (this.#client.isClosed && this.#upstream.isClosed) this.#over();
  }

  #over(): void {
    this.#context.expiring.delete(this);
    this.#account.tunnelEnded(this.#failure, this.#client.closeCode, this.#upstream.closeCode);
  }

  /**
   * The node is to blame when it is the one that does not read, or does not end; a silent tunnel is
   * the client's to keep alive.
   */
  expired(): void {
    const isNodes = this.#state === "ending" ? this.#client.hasEnded : this.#upstream.isBlocked;
    this.#failure ??= isNodes ? "responseTimeout" : "clientTimeout";
    this.#client.destroy();
    this.#upstream.destroy();
  }

  /**
   * The client is told that the service restarts. Its answer goes to the node, which ends the
   * tunnel as after any close.
   */
  sendAway(): boolean {
    if (this.#state === "ending" || this.#client.isBlocked || !this.#upstream.isBetweenFrames)
      return false;
    this.#failure ??= "stopped";
    this.#client.sayGoodbye();
    return true;
  }

  cut(): void {
    this.#failure ??= "stopped";
    this.#client.destroy();
    this.#upstream.destroy();
  }

  /**
   * Ends the node's side, which ends the client's after the node's last words; asked again, it ends
   * both.
   */
  stop(): void {
    if (this.#state !== "ending") this.#failure ??= "stopped";
    if (this.#state === "ending") this.#client.finish();
    this.#upstream.finish();
  }
}

/** One socket of a tunnel, and what it has not taken yet. */
class Leg implements SocketOwner {
  isClosed = false;
  readonly #tunnel: Tunnel;
  readonly #socket: OwnedSocket;
  /** Of what comes from it. */
  readonly #frames = new FrameScanner();
  #other: Leg = this;
  #unsent: Buffer | undefined;
  /** It has sent its FIN. */
  #hasEnded = false;
  /** It is to be sent one. */
  #isToEnd = false;
  #hasGoodbye = false;

  constructor(tunnel: Tunnel, socket: OwnedSocket) {
    this.#tunnel = tunnel;
    this.#socket = socket;
    socket.data = this;
  }

  pairWith(other: Leg): void {
    this.#other = other;
  }

  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  get isBlocked(): boolean {
    return this.#unsent !== undefined;
  }

  get closeCode(): number | undefined {
    return this.#frames.code;
  }

  get isBetweenFrames(): boolean {
    return this.#frames.isBetweenFrames;
  }

  resume(): void {
    this.#socket.resume();
  }

  /** Notes what came from this side. */
  observe(chunk: Buffer): void {
    this.#frames.read(chunk);
  }

  /** Sends the client its close frame: the last that it gets. */
  sayGoodbye(): void {
    this.#hasGoodbye = true;
    this.#unsent = sendNow(this.#socket, GOODBYE);
    this.#tunnel.ending();
  }

  destroy(): void {
    this.#socket.terminate();
  }

  /** Sends a FIN, after what is unsent. */
  finish(): void {
    this.#tunnel.ending();
    if (this.#unsent === undefined) this.#socket.shutdown();
    else this.#other.#hasEnded = true;
  }

  bytesReceived(chunk: Buffer): void {
    this.#tunnel.carried(this, chunk.length);
    this.#frames.read(chunk);
    this.pass(chunk);
  }

  /** Writes to the other side what came from this one. */
  pass(chunk: Buffer): void {
    const other = this.#other;
    if (other.isClosed || other.#hasGoodbye) return;
    if (other.#unsent !== undefined) {
      // A pause is not quite the end of reading: after a reset Bun delivers what had arrived.
      other.#unsent = Buffer.concat([other.#unsent, chunk]);
      return;
    }
    const taken = other.#socket.write(chunk);
    if (taken === chunk.length) {
      this.#tunnel.moved();
      return;
    }
    other.#unsent = taken > 0 ? chunk.subarray(taken) : chunk;
    this.#socket.pause();
    this.#tunnel.stalled();
  }

  socketDrained(): void {
    if (this.#unsent === undefined) return;
    this.#unsent = sendNow(this.#socket, this.#unsent);
    if (this.#unsent !== undefined) return this.#tunnel.stalled();
    if (this.#other.#hasEnded) this.#socket.shutdown();
    else this.#other.resume();
    this.#tunnel.unstalled();
  }

  endReceived(): void {
    this.#hasEnded = true;
    this.#tunnel.ending();
    this.#endOther();
  }

  /**
   * Closed without `ended` before it: both directions ended, ours first. A reset takes the other
   * leg along.
   */
  socketClosed(hasFailed: boolean): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.#hasEnded = true;
    this.#unsent = undefined;
    if (hasFailed) this.#tunnel.wasReset(this);
    this.#tunnel.ending();
    this.#tunnel.legClosed(this);
    const other = this.#other;
    if (other.isClosed) return;
    if (hasFailed) return other.destroy();
    // What it still says has nowhere to go, but only reading shows when it ends too.
    other.resume();
    this.#endOther();
  }

  /** Passes our FIN on, where nothing is unsent before it; `drained` does it otherwise. */
  #endOther(): void {
    const other = this.#other;
    if (other.#isToEnd) return;
    other.#isToEnd = true;
    this.#tunnel.passEnd(() => {
      if (!other.isClosed && !other.isBlocked) other.#socket.shutdown();
    }, this);
  }

  /** Both are there when a tunnel begins. */
  socketOpened(): void {}
  dialFailed(): void {}
}
