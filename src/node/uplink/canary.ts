// The delivery health probe of one relay: it publishes to a channel of this node's own; while that
// comes back, or is refused because the relay's disk is full, the link to the relay is well. Pure.

import { ownerOf } from "../../wire/channel-name.ts";
import type { Position } from "../../wire/position.ts";
import type { Policy } from "../../wire/relay-messages.ts";
import { isRecord } from "../../wire/shape.ts";
import type { ChannelPort, Opening } from "./broker.ts";
import type { Publisher, PublishResult } from "./outbox.ts";
import type { Uplink } from "./uplink.ts";

export const BEAT_MS = 500;
/** A publication that comes back later than this proves nothing. */
const PROOF_MS = 2000;
/** A link that is up for so long while nothing comes back is dialled again. */
const UNRESPONSIVE_MS = 5000;

export type CanaryOptions = {
  readonly node: string;
  readonly uplink: Uplink;
  /** The ids of all relays, in the order that all processes share. */
  readonly relays: readonly string[];
  /** Tells this process's publications from those of another with the same node id. */
  readonly nonce: string;
  nowMs(): number;
  /** A publication has come back. */
  onProven(): void;
};

export class Canary implements ChannelPort, Publisher {
  readonly name: string;
  readonly policy: Policy = { size: 0, ttlMs: 0, bytes: 0 };
  readonly presence = false;
  readonly isFollowed = true;
  readonly position: Position | null = null;
  readonly relay: string;
  readonly #uplink: Uplink;
  readonly #opening: Opening;
  readonly #nowMs: () => number;
  readonly #nonce: string;
  readonly #onProven: () => void;
  /** A publication is on its way to the relay. */
  #isOut = false;
  /** When the latest publication was published. */
  #outAtMs = 0;
  /** When the latest publication was published that has come back, or was refused for storage. */
  #provenAtMs = Number.NEGATIVE_INFINITY;
  #upSinceMs: number | undefined;
  #beatAtMs: number;

  constructor({ node, uplink, relays, nonce, nowMs, onProven }: CanaryOptions) {
    this.relay = uplink.relay;
    this.name = canaryName(node, relays.indexOf(uplink.relay), relays);
    this.#uplink = uplink;
    this.#nonce = nonce;
    this.#onProven = onProven;
    this.#nowMs = nowMs;
    this.#beatAtMs = nowMs();
    this.#opening = uplink.openChannel(this);
  }

  /** Whether the relay has delivered lately, or would if it could store. */
  get isProven(): boolean {
    return this.#nowMs() - this.#provenAtMs <= PROOF_MS;
  }

  /** Every BEAT_MS: publishes the next, and dials again where a link is unresponsive. */
  beat(): void {
    const nowMs = this.#nowMs();
    const hasSlept = nowMs - this.#beatAtMs > PROOF_MS;
    this.#beatAtMs = nowMs;
    if (!this.#uplink.isUp) this.#upSinceMs = undefined;
    else if (this.#upSinceMs === undefined || hasSlept) this.#upSinceMs = nowMs;
    if (
      this.#upSinceMs !== undefined &&
      nowMs - Math.max(this.#upSinceMs, this.#provenAtMs) > UNRESPONSIVE_MS
    ) {
      this.#upSinceMs = undefined;
      this.#uplink.redial("unresponsive");
    }
    if (this.#isOut) return;
    this.#outAtMs = nowMs;
    const payload = new TextEncoder().encode(JSON.stringify({ nonce: this.#nonce, at: nowMs }));
    this.#isOut = this.#uplink.publish(this.#opening, undefined, payload, nowMs, this);
  }

  /** A relay that answers that its disk is full answers: its link is well. */
  published(result: PublishResult): void {
    this.#isOut = false;
    if (result === "storage") this.#proven(this.#outAtMs);
  }

  publicationArrived(_offset: number, _timeMs: number, payload: string): void {
    const value: unknown = JSON.parse(payload);
    if (!isRecord(value) || value.nonce !== this.#nonce || typeof value.at !== "number") return;
    this.#proven(value.at);
  }

  #proven(atMs: number): void {
    this.#provenAtMs = atMs;
    this.#onProven();
  }

  channelOpened(): void {}
  openRefused(): void {}
  memberEntered(): void {}
  memberLeft(): void {}
}

/** A channel of this node's own that belongs to this relay. */
function canaryName(node: string, relay: number, relays: readonly string[]): string {
  for (let i = 0; ; i++) {
    const name = `$canary/${node}/${i}`;
    if (ownerOf(name, relays) === relay) return name;
  }
}
