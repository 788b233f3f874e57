// A small bird in a channel of this node's own on one relay: as long as what is published comes
// back, that relay delivers to this node. Pure.

import { ownerOf } from "../../wire/channel-name.ts";
import type { Position } from "../../wire/position.ts";
import type { Policy } from "../../wire/relay-messages.ts";
import { isRecord } from "../../wire/shape.ts";
import type { ChannelPort, Opening } from "./broker.ts";
import type { Publisher } from "./outbox.ts";
import type { Uplink } from "./uplink.ts";

export const BEAT_MS = 500;
/** A publication that comes back later than this proves nothing. */
const PROOF_MS = 2000;
/** A link that is up for so long while nothing comes back is deaf. */
const DEAF_MS = 5000;

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
  /** Tells this process's publications from those of another that goes by the same id. */
  readonly #nonce: string;
  readonly #onProven: () => void;
  #isOut = false;
  /** When the latest that came back was published. */
  #provenAtMs = Number.NEGATIVE_INFINITY;
  #upSinceMs: number | undefined;
  #beatAtMs: number;

  /** `onProven`: called whenever something has come back. */
  constructor(
    node: string,
    uplink: Uplink,
    relays: readonly string[],
    nonce: string,
    nowMs: () => number,
    onProven: () => void,
  ) {
    this.relay = uplink.relay;
    this.name = canaryName(node, relays.indexOf(uplink.relay), relays);
    this.#uplink = uplink;
    this.#nonce = nonce;
    this.#onProven = onProven;
    this.#nowMs = nowMs;
    this.#beatAtMs = nowMs();
    this.#opening = uplink.open(this);
  }

  /** Whether the relay has delivered lately. */
  get isProven(): boolean {
    return Math.abs(this.#nowMs() - this.#provenAtMs) <= PROOF_MS;
  }

  /** Every BEAT_MS: publishes the next, and gives up a link that is deaf. */
  beat(): void {
    const nowMs = this.#nowMs();
    const hasSlept = nowMs - this.#beatAtMs > PROOF_MS;
    this.#beatAtMs = nowMs;
    if (!this.#uplink.isUp) this.#upSinceMs = undefined;
    else if (this.#upSinceMs === undefined || hasSlept) this.#upSinceMs = nowMs;
    if (
      this.#upSinceMs !== undefined &&
      nowMs - Math.max(this.#upSinceMs, this.#provenAtMs) > DEAF_MS
    ) {
      this.#upSinceMs = undefined;
      this.#uplink.redial("deaf");
    }
    if (this.#isOut) return;
    const payload = new TextEncoder().encode(JSON.stringify({ nonce: this.#nonce, at: nowMs }));
    this.#isOut = this.#uplink.publish(this.#opening, undefined, payload, nowMs, this);
  }

  published(): void {
    this.#isOut = false;
  }

  publication(_offset: number, _timeMs: number, payload: string): void {
    const value: unknown = JSON.parse(payload);
    if (!isRecord(value) || value.nonce !== this.#nonce || typeof value.at !== "number") return;
    this.#provenAtMs = value.at;
    this.#onProven();
  }

  opened(): void {}
  openRefused(): void {}
  entered(): void {}
  left(): void {}
}

/** A name of this node's own that this relay owns. */
function canaryName(node: string, relay: number, relays: readonly string[]): string {
  for (let i = 0; ; i++) {
    const name = `$canary/${node}/${i}`;
    if (ownerOf(name, relays) === relay) return name;
  }
}
