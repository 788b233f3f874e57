// One session's publications: which producer it is in each channel, how many are unanswered at each
// relay, and what comes before each where the client does not say so. Pure.

import { TokenBucket } from "../../runtime/token-bucket.ts";
import type { ClientMessageOf } from "../../wire/client-messages.ts";
import type { Producer } from "../../wire/frame.ts";
import { KEYS_PER_SECOND } from "../app/limits.ts";
import type { Uplink } from "../uplink/uplink.ts";

/** Channels that are kept in mind. One that was forgotten is only looked up again. */
const CHANNELS_MAX = 256;

/** What a session has under way at one relay. */
export type RelayWindow = { readonly uplink: Pick<Uplink, "isUp">; inFlight: number };

/** What a session publishes to one channel. `producer`: who it is there, once that was asked. */
export type PublishedChannel = {
  readonly relay: RelayWindow;
  producer: Producer | undefined;
  /** The seq of the last publication to arrive, of a client that does not name the one before. */
  lastSeq: number;
};

export class PublishWindow {
  readonly #context: { uplinkOf(channel: string): Pick<Uplink, "isUp"> };
  readonly #inFlightMax: number;
  readonly #channels = new Map<string, PublishedChannel>();
  readonly #relays = new Map<Pick<Uplink, "isUp">, RelayWindow>();
  #keys: TokenBucket | undefined;
  /** Unanswered publications, of all relays. */
  inFlight = 0;

  /** `inFlightMax`: unanswered publications at one relay. */
  constructor(context: { uplinkOf(channel: string): Pick<Uplink, "isUp"> }, inFlightMax: number) {
    this.#context = context;
    this.#inFlightMax = inFlightMax;
  }

  /** What this session publishes to a channel. */
  channel(name: string): PublishedChannel {
    let channel = this.#channels.get(name);
    if (channel !== undefined) return channel;
    const uplink = this.#context.uplinkOf(name);
    const relay = this.#relays.get(uplink) ?? { uplink, inFlight: 0 };
    this.#relays.set(uplink, relay);
    channel = { relay, producer: undefined, lastSeq: 0 };
    if (this.#channels.size >= CHANNELS_MAX)
      for (const oldest of this.#channels.keys()) {
        this.#channels.delete(oldest);
        break;
      }
    this.#channels.set(name, channel);
    return channel;
  }

  /**
   * Whether the session's next publication to a channel waits until others are answered. Not while
   * the relay is away: it is refused then, and what is for other relays goes on.
   */
  mustWait(name: string): boolean {
    const { relay } = this.channel(name);
    return relay.inFlight >= this.#inFlightMax && relay.uplink.isUp;
  }

  hasRoom(relay: RelayWindow): boolean {
    return relay.inFlight < this.#inFlightMax;
  }

  /** Whether the session may publish with another key now. */
  takeKey(nowMs: number): boolean {
    this.#keys ??= new TokenBucket(KEYS_PER_SECOND, nowMs);
    return this.#keys.take(nowMs);
  }

  publicationSent(relay: RelayWindow): void {
    relay.inFlight++;
    this.inFlight++;
  }

  publicationAnswered(relay: RelayWindow): void {
    relay.inFlight--;
    this.inFlight--;
  }

  /**
   * A publication has arrived, whatever becomes of it. Returns the seq of the one before it in its
   * channel where the client numbers its publications but does not say what is before: the one that
   * arrived before, if its seq is lower; else this is a repeat, which the client sends in order.
   */
  publicationArrived(message: ClientMessageOf<"publish">): number | undefined {
    const { channel: name, seq, after } = message;
    if (seq === undefined || after !== undefined) return undefined;
    const channel = this.channel(name);
    const before = channel.lastSeq < seq ? channel.lastSeq : 0;
    channel.lastSeq = seq;
    return before;
  }

  /** A publication is refused for good: what arrives next is behind the one before it. */
  publicationRefused(name: string, seq: number, before: number): void {
    const channel = this.channel(name);
    if (channel.lastSeq === seq) channel.lastSeq = before;
  }
}
