// One link as the relay sees it: the process at its other end, the channels that it has opened, and
// what waits to be sent to it.

import type { Role } from "../../wire/relay-messages.ts";
import type { Channel, Receiver } from "../channels/channel.ts";
import { Outbox } from "./outbox.ts";

/** How a link has opened a channel. */
export type Opening = { channel: Channel; live: boolean; presence: boolean };

/** Items that may wait for a link, even if they are few bytes: each costs memory of its own. */
const OUTBOX_ITEMS_MAX = 262_144;
const OUTBOX_BYTES_MAX = 256 * 1024 * 1024;

export class RelayLink implements Receiver {
  readonly outbox: Outbox;
  readonly openings = new Map<number, Opening>();
  /** The outcomes of its PUBLISH frames of this turn, in order. */
  outcomes: number[] = [];
  phase: "awaitingHello" | "awaitingProof" | "up" | "ended" = "awaitingHello";
  role: Role = "probe";
  /** The id of the process at the other end. */
  name = "";
  linkNonce: Uint8Array = new Uint8Array(0);
  relayNonce: Uint8Array = new Uint8Array(0);
  isTooSlow = false;
  readonly #dirty: RelayLink[];
  #isDirty = false;

  /** `dirty`: the list of links that have something to be sent; the link adds itself. */
  constructor(dirty: RelayLink[], gather: Buffer) {
    this.#dirty = dirty;
    this.outbox = new Outbox(gather);
  }

  get key(): string {
    return `${this.role}/${this.name}`;
  }

  get isOverfull(): boolean {
    return this.outbox.items > OUTBOX_ITEMS_MAX || this.outbox.bytes > OUTBOX_BYTES_MAX;
  }

  send(frame: Uint8Array): void {
    this.outbox.pushControl(frame);
    this.markDirty();
  }

  sendRun(from: number, to: number): void {
    this.outbox.pushRun(from, to);
    this.markDirty();
  }

  /** The shell sends what is queued; whatever is queued next marks the link again. */
  clearDirty(): void {
    this.#isDirty = false;
  }

  /** Has the shell visit this link at the end of the turn. */
  markDirty(): void {
    if (this.#isDirty) return;
    this.#isDirty = true;
    this.#dirty.push(this);
  }
}
