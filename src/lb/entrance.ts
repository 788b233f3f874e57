// Who comes in: every accepted connection gets its place or is refused, and is HTTP by the time a client connection owns it.

import { recordRefusal } from "./access-log-entry.ts";
import type { Admission, Seat } from "./admission.ts";
import { Arrival, type ArrivalPort, type Origin, PLAIN } from "./arrival.ts";
import { ClientConnection } from "./client.ts";
import { Farewell } from "./farewell.ts";
import { Fault, faultAnswer } from "./fault.ts";
import { NOBODY, Outlet, type PeerSocket } from "./peer.ts";
import type { Live, Shared } from "./shared.ts";
import type { Secure } from "./tls.ts";
import { plainAddress } from "./trust.ts";

/** Refusals at a time; beyond, connections are cut without a word. */
export const REFUSALS_MAX = 32;

export class Entrance implements ArrivalPort {
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

  accept(socket: PeerSocket, nowMs: number): void {
    const { proxyProtocol, trust } = this.#shared.options;
    const { countsAddresses } = this.#admission;
    const address = proxyProtocol || countsAddresses ? addressOf(socket) : undefined;
    const needsHeader = proxyProtocol && address !== undefined && trust(address);
    const verdict = this.#admission.enter(countsAddresses && !needsHeader ? address : undefined, nowMs);
    if (this.secure === undefined && !needsHeader) this.welcome(socket, verdict, PLAIN);
    else if (verdict instanceof Fault && this.refusals.size >= REFUSALS_MAX) this.#refuse(socket, verdict, address);
    else new Arrival(this, socket, verdict, needsHeader);
  }

  /** It is HTTP. `verdict`: its place in this lb, or why it gets none. */
  welcome(socket: PeerSocket, verdict: Seat | Fault, origin: Origin): void {
    if (verdict instanceof Fault) return this.#refuse(socket, verdict, origin.address ?? addressOf(socket));
    this.#shared.pool.counters.connections++;
    socket.data = new ClientConnection(this.#shared, socket, verdict, origin);
  }

  locate(seat: Seat, address: string): Seat | Fault {
    return this.#admission.locate(seat, address);
  }

  arrivalFailed(): void {
    this.#shared.pool.counters.arrivalsFailed++;
  }

  setOf(verdict: Seat | Fault): Set<Live> {
    return verdict instanceof Fault ? this.refusals : this.#shared.live;
  }

  deadlineMs(): number {
    return this.#shared.clock.nowMs + this.#shared.options.numbers.headTimeoutMs;
  }

  #refuse(socket: PeerSocket, fault: Fault, address: string | undefined): void {
    const { pool, accessLog } = this.#shared;
    pool.counters.connectionsRefused++;
    const answer = this.refusals.size < REFUSALS_MAX ? faultAnswer(fault, false) : "";
    if (accessLog !== undefined) recordRefusal(accessLog, address, undefined, accessLog.now(), fault, answer.length);
    if (answer === "") {
      socket.data = NOBODY;
      socket.terminate();
    } else {
      const outlet = new Outlet(socket);
      outlet.text(answer);
      outlet.flush();
      new Farewell(this.#shared, this.refusals, { socket, outlet, seat: undefined, trailing: undefined });
    }
  }
}

/** Undefined: the client has reset the connection already. */
function addressOf(socket: PeerSocket): string | undefined {
  const address: string | undefined = socket.remoteAddress;
  return address === undefined ? undefined : plainAddress(address);
}
