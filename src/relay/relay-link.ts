// One link as the relay's core sees it: who is at its other end, what it has opened, and what it
// has yet to be sent.

import type { Role } from "../wire/relay-messages.ts";
import type { Channel, Receiver } from "./channel.ts";
import { Outbox } from "./outbox.ts";

/** How a link has opened a channel. */
export type Opening = { channel: Channel; live: boolean; presence: boolean };

/** A link that has this many frames waiting lags hopelessly, even where they are few bytes. */
const OUTBOX_ITEMS_MAX = 262_144;
const OUTBOX_BYTES_MAX = 256 * 1024 * 1024;

export class RelayLink implements Receiver {
  readonly outbox = new Outbox();
  readonly openings = new Map<number, Opening>();
  /** What its PUBLISH frames of this turn came to, in order. */
  outcomes: number[] = [];
  /**
   * Channels, by id, in which a publication of this link could not be stored. Nothing that follows
   * it there is taken before the link has heard of it: what was on its way behind it would overtake
   * its repeat.
   */
  readonly refusing = new Set<number>();
  phase: "greeting" | "proving" | "up" | "ended" = "greeting";
  role: Role = "probe";
  /** The id that the process at the other end goes by. */
  name = "";
  linkNonce: Uint8Array = new Uint8Array(0);
  relayNonce: Uint8Array = new Uint8Array(0);
  isTooSlow = false;
  readonly #dirty: RelayLink[];
  #isDirty = false;

  /** `dirty`: where the link puts itself when it has something to be sent. */
  constructor(dirty: RelayLink[]) {
    this.#dirty = dirty;
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

  /** What was queued is being sent: the next thing queued makes it dirty again. */
  clearDirty(): void {
    this.#isDirty = false;
  }

  /** The shell has something to do for this link at the end of the turn. */
  markDirty(): void {
    if (this.#isDirty) return;
    this.#isDirty = true;
    this.#dirty.push(this);
  }
}
