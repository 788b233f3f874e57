// Limits admitted connections: in total, per address, and new ones per second. Only counts; no
// socket.

import { TokenBucket } from "../../runtime/token-bucket.ts";
import { HttpFault, unavailable } from "../http/faults.ts";

export type AdmissionOptions = {
  readonly connectionsMax: number;
  /** 0: no limit. */
  readonly addressConnectionsMax: number;
  /** 0: no limit. One second's worth may arrive at once. */
  readonly connectionsPerSecond: number;
};

const ALL_TAKEN = unavailable("too many connections", "limited");
const TOO_FAST = unavailable("too many new connections", "limited");
const ADDRESS_FULL = new HttpFault(
  429,
  "too many connections from this address",
  "Retry-After: 1\r\n",
);

/** A client's connection slot; `release` returns it, once. */
export class ConnectionSlot {
  /** The address that it counts for. */
  address: string | undefined;
  readonly #admission: Admission;
  #taken = true;

  constructor(admission: Admission, address: string | undefined) {
    this.#admission = admission;
    this.address = address;
  }

  release(): void {
    if (!this.#taken) return;
    this.#taken = false;
    this.#admission.left(this.address);
  }
}

export class Admission {
  readonly #options: AdmissionOptions;
  readonly #byAddress = new Map<string, number>();
  #taken = 0;
  /** Undefined: no limit per second. */
  readonly #bucket: TokenBucket | undefined;

  constructor(options: AdmissionOptions, nowMs: number) {
    this.#options = options;
    const { connectionsPerSecond } = options;
    this.#bucket =
      connectionsPerSecond > 0 ? new TokenBucket(connectionsPerSecond, nowMs) : undefined;
  }

  get connections(): number {
    return this.#taken;
  }

  /** Whether `admit` needs the client's address. */
  get countsAddresses(): boolean {
    return this.#options.addressConnectionsMax > 0;
  }

  admit(address: string | undefined, nowMs: number): ConnectionSlot | HttpFault {
    if (this.#taken >= this.#options.connectionsMax) return ALL_TAKEN;
    const known = address === undefined ? 0 : (this.#byAddress.get(address) ?? 0);
    if (this.countsAddresses && known >= this.#options.addressConnectionsMax) return ADDRESS_FULL;
    if (this.#bucket?.take(nowMs) === false) return TOO_FAST;
    this.#taken++;
    if (address !== undefined) this.#byAddress.set(address, known + 1);
    return new ConnectionSlot(this, address);
  }

  /**
   * Assigns an address to a slot that was taken without one: the slot is kept, or released if the
   * address is at its limit.
   */
  locate(slot: ConnectionSlot, address: string): ConnectionSlot | HttpFault {
    if (!this.countsAddresses) return slot;
    const known = this.#byAddress.get(address) ?? 0;
    if (known >= this.#options.addressConnectionsMax) {
      slot.release();
      return ADDRESS_FULL;
    }
    this.#byAddress.set(address, known + 1);
    slot.address = address;
    return slot;
  }

  left(address: string | undefined): void {
    this.#taken--;
    if (address === undefined) return;
    const known = this.#byAddress.get(address) ?? 0;
    if (known > 1) this.#byAddress.set(address, known - 1);
    else this.#byAddress.delete(address);
  }
}
