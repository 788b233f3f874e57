// The client's side of an HTTP connection: what has come before its turn, what is written to the
// client, and how its socket is left. It knows no requests.

import type { ConnectionSlot } from "../accept/admission.ts";
import type { TransportInfo } from "../accept/handshake.ts";
import { faultAnswer, type HttpFault } from "../http/faults.ts";
import type { Hop } from "../http/forward.ts";
import { ByteQueue } from "../net/byte-queue.ts";
import type { OwnedSocket } from "../net/socket-owner.ts";
import { SocketWriter } from "../net/socket-writer.ts";
import { plainAddress } from "../net/trust.ts";
import type { LoadBalancerContext } from "./context.ts";
import { type Leaving, LingeringClose } from "./lingering-close.ts";
import type { DetachedClient } from "./tunnel.ts";

/**
 * Bytes that may wait for their turn: a pipelined request, a body without a node yet, frames sent
 * ahead of the 101.
 */
const HELD_BYTES_MAX = 64 * 1024;

export class ClientStream {
  /** What the client gets. */
  readonly writer: SocketWriter;
  readonly #context: LoadBalancerContext;
  readonly #socket: OwnedSocket;
  readonly #slot: ConnectionSlot;
  readonly #transport: TransportInfo;
  readonly #held = new ByteQueue();
  #hop: Hop | undefined;
  #hasEnded = false;
  #isPaused = false;

  constructor(
    context: LoadBalancerContext,
    socket: OwnedSocket,
    slot: ConnectionSlot,
    transport: TransportInfo,
  ) {
    this.#context = context;
    this.#socket = socket;
    this.#slot = slot;
    this.#transport = transport;
    this.writer = new SocketWriter(socket);
  }

  /** The client has sent its FIN. */
  get hasEnded(): boolean {
    return this.#hasEnded;
  }

  get holdsBytes(): boolean {
    return this.#held.bytes > 0;
  }

  /** What this hop knows of it; undefined after a reset: the system no longer knows the address. */
  get hop(): Hop | undefined {
    if (this.#hop !== undefined) return this.#hop;
    const { scheme, isAnonymous } = this.#transport;
    const address: string | undefined = this.#transport.address ?? this.#socket.remoteAddress;
    if (address === undefined) return undefined;
    const { options, via, ownHost } = this.#context;
    const { trust, cookie } = options;
    const peer = plainAddress(address);
    const believed = !isAnonymous && trust(peer) ? trust : undefined;
    this.#hop = { via, peer, trust: believed, scheme, ownHost, cookieName: cookie?.name };
    return this.#hop;
  }

  ended(): void {
    this.#hasEnded = true;
  }

  hold(bytes: Buffer): void {
    this.#held.append(bytes);
  }

  takeHeld(): Buffer | undefined {
    return this.#held.takeAll();
  }

  /** Pauses the client while too much is held, or `isNodeBlocked`. */
  flow(isNodeBlocked: boolean): void {
    const mustPause = this.#held.bytes > HELD_BYTES_MAX || isNodeBlocked;
    if (mustPause === this.#isPaused) return;
    this.#isPaused = mustPause;
    if (mustPause) this.#socket.pause();
    else this.#socket.resume();
  }

  /** Writes the answer to what cannot be served; returns its bytes. */
  writeFault(fault: HttpFault, toHead: boolean): number {
    const answer = faultAnswer(fault, toHead, this.#context.date.text);
    this.writer.text(answer);
    this.writer.flush();
    return answer.length;
  }

  /** Resets the connection, so that the client does not take what it got for a whole answer. */
  reset(): void {
    this.#socket.terminate();
  }

  /** The socket has closed. */
  closed(): void {
    this.#slot.release();
    this.#held.takeAll();
  }

  /** Hands the socket over, to become a leg of a tunnel. */
  detach(): DetachedClient {
    return {
      socket: this.#socket,
      slot: this.#slot,
      unsent: this.writer.unsent,
      held: this.#held.takeAll(),
      hasEnded: this.#hasEnded,
    };
  }

  /** Hands the socket to a lingering close, which sends what is unsent. */
  leave(trailing: Leaving["trailing"]): void {
    this.#held.takeAll();
    new LingeringClose(this.#context, this.#context.expiring, {
      socket: this.#socket,
      writer: this.writer,
      slot: this.#slot,
      trailing,
    });
  }
}
