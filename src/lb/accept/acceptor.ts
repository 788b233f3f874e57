// Accepts connections: each gets a slot or is refused, completes its handshake, and is passed to
// HTTP.

import type { HttpDate } from "../http/date.ts";
import { faultAnswer, HttpFault } from "../http/faults.ts";
import type { Expiring } from "../net/expiring.ts";
import { NOBODY, type OwnedSocket } from "../net/socket-owner.ts";
import { SocketWriter } from "../net/socket-writer.ts";
import { plainAddress, type Trust } from "../net/trust.ts";
import type { AccessLog } from "../telemetry/access-log.ts";
import { recordRefusal } from "../telemetry/access-log-entry.ts";
import type { Counters } from "../telemetry/counters.ts";
import type { Admission, ConnectionSlot } from "./admission.ts";
import { Handshake, type HandshakePort, PLAIN, type TransportInfo } from "./handshake.ts";
import type { Secure } from "./tls.ts";

/**
 * The maximum number of refusals that are answered concurrently; beyond it, connections are reset
 * without an answer.
 */
export const REFUSALS_MAX = 32;

export type AcceptContext = {
  readonly options: {
    /** Trusted peers begin with a PROXY header. */
    readonly proxyProtocol: boolean;
    readonly trust: Trust;
    readonly numbers: { readonly headTimeoutMs: number };
  };
  readonly clock: { readonly nowMs: number };
  readonly date: HttpDate;
  readonly counters: Counters;
  /** Undefined: there is no access log. */
  readonly accessLog: AccessLog | undefined;
  /** The handshakes of admitted clients, for the sweep. */
  readonly expiring: Set<Expiring>;
  /** Takes over an admitted connection at the start of HTTP; becomes the socket's owner. */
  connectionAdmitted(socket: OwnedSocket, slot: ConnectionSlot, transport: TransportInfo): void;
  /** Ends a refused connection after its response; it is in `closing` until then. */
  closeRefused(socket: OwnedSocket, writer: SocketWriter, closing: Set<Expiring>): void;
};

export class Acceptor implements HandshakePort {
  readonly secure: Secure | undefined;
  /** Refused connections whose response is still being sent. */
  readonly refusals = new Set<Expiring>();
  readonly #context: AcceptContext;
  readonly #admission: Admission;

  constructor(context: AcceptContext, admission: Admission, secure: Secure | undefined) {
    this.#context = context;
    this.#admission = admission;
    this.secure = secure;
  }

  accept(socket: OwnedSocket, nowMs: number): void {
    const { proxyProtocol, trust } = this.#context.options;
    const { countsAddresses } = this.#admission;
    const address = proxyProtocol || countsAddresses ? addressOf(socket) : undefined;
    const needsHeader = proxyProtocol && address !== undefined && trust(address);
    const verdict = this.#admission.admit(
      countsAddresses && !needsHeader ? address : undefined,
      nowMs,
    );
    if (this.secure === undefined && !needsHeader) this.handshakeDone(socket, verdict, PLAIN);
    else if (verdict instanceof HttpFault && this.refusals.size >= REFUSALS_MAX)
      this.#refuse(socket, verdict, address);
    else new Handshake(this, socket, verdict, needsHeader);
  }

  handshakeDone(
    socket: OwnedSocket,
    verdict: ConnectionSlot | HttpFault,
    transport: TransportInfo,
  ): void {
    if (verdict instanceof HttpFault)
      return this.#refuse(socket, verdict, transport.address ?? addressOf(socket));
    this.#context.counters.connections++;
    this.#context.connectionAdmitted(socket, verdict, transport);
  }

  locate(slot: ConnectionSlot, address: string): ConnectionSlot | HttpFault {
    return this.#admission.locate(slot, address);
  }

  handshakeFailed(): void {
    this.#context.counters.arrivalsFailed++;
  }

  setOf(verdict: ConnectionSlot | HttpFault): Set<Expiring> {
    return verdict instanceof HttpFault ? this.refusals : this.#context.expiring;
  }

  deadlineMs(): number {
    return this.#context.clock.nowMs + this.#context.options.numbers.headTimeoutMs;
  }

  #refuse(socket: OwnedSocket, fault: HttpFault, address: string | undefined): void {
    const { counters, accessLog } = this.#context;
    counters.connectionsRefused++;
    const isAnswered = this.refusals.size < REFUSALS_MAX;
    const answer = isAnswered ? faultAnswer(fault, false, this.#context.date.text) : "";
    if (accessLog !== undefined)
      recordRefusal(accessLog, address, undefined, accessLog.now(), fault, answer.length);
    if (answer === "") {
      socket.data = NOBODY;
      socket.terminate();
    } else {
      const writer = new SocketWriter(socket);
      writer.text(answer);
      writer.flush();
      this.#context.closeRefused(socket, writer, this.refusals);
    }
  }
}

/** Undefined: the client has already reset the connection. */
function addressOf(socket: OwnedSocket): string | undefined {
  const address: string | undefined = socket.remoteAddress;
  return address === undefined ? undefined : plainAddress(address);
}
