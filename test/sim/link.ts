// The link that ships, on simulated cables and time.

import {
  type LinkConnection,
  LinkCore,
  type LinkEvents,
  type LinkPorts,
} from "../../src/runtime/link-core.ts";
import { NONCE_BYTES } from "../../src/wire/proof.ts";
import { ABNORMAL, Cable, type Network, NORMAL } from "./cable.ts";
import type { Process } from "./process.ts";
import type { SimRelay } from "./relay.ts";

export const SECRET = "a secret that tests share";
const NONCE = new Uint8Array(NONCE_BYTES);

export class SimLink extends LinkCore {
  readonly #dialer: Dialer;

  constructor(
    network: Network,
    process: Process,
    relay: SimRelay,
    role: "node" | "lb",
    events: LinkEvents,
  ) {
    const dialer = new Dialer(network, process, relay);
    super({ secret: SECRET, role, id: process.name }, events, dialer);
    this.#dialer = dialer;
  }

  get cable(): Cable<Uint8Array> | undefined {
    return this.#dialer.cable;
  }
}

class Dialer implements LinkPorts {
  readonly clock: Process;
  readonly random: () => number;
  readonly #network: Network;
  readonly #relay: SimRelay;
  /** Of the latest dial that got through. */
  cable: Cable<Uint8Array> | undefined;

  constructor(network: Network, process: Process, relay: SimRelay) {
    this.clock = process;
    this.random = network.random;
    this.#network = network;
    this.#relay = relay;
  }

  createNonce(): Uint8Array {
    return NONCE;
  }

  dial(link: LinkCore, attempt: number): void {
    const { clock: process } = this;
    this.#network.clock.after(this.#network.delayMs(), () => {
      if (!process.isAlive) return;
      if (this.#relay.process.isAlive) this.#connect(link, attempt);
      else process.run(() => link.disconnected(attempt, "unreachable"));
    });
  }

  #connect(link: LinkCore, attempt: number): void {
    const { clock: process } = this;
    const cable: Cable<Uint8Array> = new Cable<Uint8Array>(this.#network, [
      {
        process,
        receive: (bytes) => link.received(attempt, bytes),
        closed: () => link.disconnected(attempt, "closed"),
      },
      this.#relay.accept(() => cable),
    ]);
    this.cable = cable;
    process.run(() => link.opened(attempt, this.#connectionOf(cable, link, attempt)));
  }

  #connectionOf(cable: Cable<Uint8Array>, link: LinkCore, attempt: number): LinkConnection {
    const network = this.#network;
    return {
      write: (bytes) => {
        const taken = network.bytesTaken(bytes.length);
        // A copy: what is sent again may be patched then.
        if (taken > 0) cable.send(0, new Uint8Array(bytes.subarray(0, taken)));
        if (taken < bytes.length) this.clock.after(network.delayMs(), () => link.drained(attempt));
        return taken;
      },
      end: () => cable.close(0, NORMAL),
      terminate: () => cable.close(0, ABNORMAL),
    };
  }
}
