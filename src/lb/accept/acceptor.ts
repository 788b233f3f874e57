// Who comes in: every accepted connection gets its place or is refused, and is HTTP by the time a
// client connection owns it.

import { Fault, faultAnswer } from "../http/faults.ts";
import { NOBODY, type OwnedSocket, SocketWriter } from "../net/socket-owner.ts";
import { plainAddress } from "../net/trust.ts";
import { ClientConnection } from "../proxying/client.ts";
import { LingeringClose } from "../proxying/lingering-close.ts";
import type { Live, Shared } from "../proxying/shared.ts";
import { recordRefusal } from "../telemetry/access-log-entry.ts";
import type { Admission, ConnectionSlot } from "./admission.ts";
import { Handshake, type HandshakePort, PLAIN, type TransportInfo } from "./handshake.ts";
import type { Secure } from "./tls.ts";

/** Refusals at a time; beyond, connections are cut without a word. */
export const REFUSALS_MAX = 32;

export class Acceptor implements HandshakePort {
  readonly secure: Secure | undefined;
  /** Connections that get no place, until they have been told so. */
  readonly refusals = new Set<Live>();
  readonly #shared: Shared;
  readonly #admission: Admission;

  constructor(shared: Shared, admission: Admission, secure: Secure | undefined) {
    this.#shared = shared;
    this.#admission = admission;
    this.secure = secure;
  }

  accept(socket: OwnedSocket, nowMs: number): void {
    const { proxyProtocol, trust } = this.#shared.options;
    const { countsAddresses } = this.#admission;
    const address = proxyProtocol || countsAddresses ? addressOf(socket) : undefined;
    const needsHeader = proxyProtocol && address !== undefined && trust(address);
    const verdict = this.#admission.enter(
      countsAddresses && !needsHeader ? address : undefined,
      nowMs,
    );
    if (this.secure === undefined && !needsHeader) this.welcome(socket, verdict, PLAIN);
    else if (verdict instanceof Fault && this.refusals.size >= REFUSALS_MAX)
      this.#refuse(socket, verdict, address);
    else new Handshake(this, socket, verdict, needsHeader);
  }

  /** It is HTTP. `verdict`: its place in this lb, or why it gets none. */
  welcome(socket: OwnedSocket, verdict: ConnectionSlot | Fault, origin: TransportInfo): void {
    if (verdict instanceof Fault)
      return this.#refuse(socket, verdict, origin.address ?? addressOf(socket));
    this.#shared.pool.counters.connections++;
    socket.data = new ClientConnection(this.#shared, socket, verdict, origin);
  }

  locate(seat: ConnectionSlot, address: string): ConnectionSlot | Fault {
    return this.#admission.locate(seat, address);
  }

  arrivalFailed(): void {
    this.#shared.pool.counters.arrivalsFailed++;
  }

  setOf(verdict: ConnectionSlot | Fault): Set<Live> {
    return verdict instanceof Fault ? this.refusals : this.#shared.live;
  }

  deadlineMs(): number {
    return this.#shared.clock.nowMs + this.#shared.options.numbers.headTimeoutMs;
  }

  #refuse(socket: OwnedSocket, fault: Fault, address: string | undefined): void {
    const { pool, accessLog } = this.#shared;
    pool.counters.connectionsRefused++;
    const answer = this.refusals.size < REFUSALS_MAX ? faultAnswer(fault, false) : "";
    if (accessLog !== undefined)
      recordRefusal(accessLog, address, undefined, accessLog.now(), fault, answer.length);
    if (answer === "") {
      socket.data = NOBODY;
      socket.terminate();
    } else {
      const outlet = new SocketWriter(socket);
      outlet.text(answer);
      outlet.flush();
      new LingeringClose(this.#shared, this.refusals, {
        socket,
        outlet,
        seat: undefined,
        trailing: undefined,
      });
    }
  }
}

/** Undefined: the client has reset the connection already. */
function addressOf(socket: OwnedSocket): string | undefined {
  const address: string | undefined = socket.remoteAddress;
  return address === undefined ? undefined : plainAddress(address);
}
