// Who may come in: how many connections in all, from one address, and how many new ones a second.
// Only counts; no socket.

import { TokenBucket } from "../../runtime/token-bucket.ts";
import { HttpFault, unavailable } from "../http/faults.ts";

export type AdmissionOptions = {
  readonly connectionsMax: number;
  /** 0: no limit. */
  readonly addressConnectionsMax: number;
  /** 0: no limit. A second's worth may come at once. */
  readonly connectionsPerSecond: number;
};

const ALL_TAKEN = unavailable("too many connections", "limited");
const TOO_FAST = unavailable("too many new connections", "limited");
const ADDRESS_FULL = new HttpFault(
  429,
  "too many connections from this address",
  "Retry-After: 1\r\n",
);

/** A client's place in this lb; `leave` gives it back, once. */
export class ConnectionSlot {
  /** Where it is counted. */
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
  /** Undefined: as many a second as come. */
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

  /** Whether `enter` needs to know where the client comes from. */
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
   * A slot that was taken without an address turns out to be this one's: it is kept, or given back
   * where the address has enough.
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
