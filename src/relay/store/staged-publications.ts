// A turn's publications between their place in the head segment and the write that journals them:
// forwarded to the channels' links after it, or taken back when it fails. Pure.

import { producerHighAt, producerLowAt, seqAt } from "../../wire/frame.ts";
import { OUTCOME_STORAGE } from "../../wire/relay-messages.ts";
import type { Channel } from "../channels/channel.ts";
import type { Channels } from "../channels/channels.ts";
import type { Producers } from "../channels/producers.ts";
import { type Place, positionOf, SEGMENT_BYTES, type Segments } from "../journal/segments.ts";
import type { RelayLink } from "../links/relay-link.ts";

export class StagedPublications {
  readonly #segments: Segments;
  /** Parallel lists: no object per publication. */
  readonly #channels: Channel[] = [];
  readonly #places: Place[] = [];
  /** The channels' `topAt` before each publication. */
  readonly #topsAt: Place[] = [];
  readonly #links: RelayLink[] = [];
  /** The indexes of their outcomes in the links' `outcomes`. */
  readonly #outcomes: number[] = [];

  /** What Producers.record returned for each. */
  readonly #seqsBefore: number[] = [];
  /** Seqs in orders that the frames do not say: five numbers for each, see `stageOrder`. */
  readonly #orders: number[] = [];

  constructor(segments: Segments) {
    this.#segments = segments;
  }

  get isEmpty(): boolean {
    return this.#channels.length === 0;
  }

  /**
   * To be called before the channel and the link's outcomes know of the publication. `seqBefore`:
   * what Producers.record returned.
   */
  stage(channel: Channel, link: RelayLink, place: Place, seqBefore: number): void {
    this.#seqsBefore.push(seqBefore);
    this.#channels.push(channel);
    this.#places.push(place);
    this.#topsAt.push(channel.topAt);
    this.#links.push(link);
    this.#outcomes.push(link.outcomes.length);
  }

  /**
   * The publication that is staged next has this seq in its publisher's order; its frame does not
   * say so. `before`: what Producers.record returned.
   */
  stageOrder(high: number, low: number, seq: number, before: number): void {
    this.#orders.push(this.#channels.length, high, low, seq, before);
  }

  /** Queues the frames, which are contiguous up to the end of the head, for the channels' links. */
  forward(): void {
    const staged = this.#channels.length;
    const end = this.#segments.head * SEGMENT_BYTES + this.#segments.end;
    for (let i = 0; i < staged; i++) {
      const from = this.#places[i];
      const to = i + 1 < staged ? this.#places[i + 1] : end;
      const live = this.#channels[i].live;
      for (let j = 0; j < live.length; j++) live[j].sendRun(from, to);
    }
  }

  /**
   * Takes the publications back, newest first, and refuses them: they could not be stored. Returns
   * where the first one began.
   */
  retract(channels: Channels, producers: Producers): Place {
    const segments = this.#segments;
    const head = segments.bytes(segments.head);
    for (let i = this.#channels.length - 1; i >= 0; i--) {
      const place = this.#places[i];
      const at = positionOf(place);
      const channel = this.#channels[i];
      channels.historyBytes -= channel.retractPublication(
        segments.frameBytes(place),
        this.#topsAt[i],
      );
      this.#forgetOrder(i, producers);
      producers.forget(
        producerHighAt(head, at),
        producerLowAt(head, at),
        seqAt(head, at),
        this.#seqsBefore[i],
      );
      this.#links[i].outcomes[this.#outcomes[i]] = OUTCOME_STORAGE;
    }
    return this.#places[0];
  }

  clear(): void {
    this.#channels.length = 0;
    this.#places.length = 0;
    this.#topsAt.length = 0;
    this.#links.length = 0;
    this.#outcomes.length = 0;
    this.#seqsBefore.length = 0;
    this.#orders.length = 0;
  }

  #forgetOrder(index: number, producers: Producers): void {
    if (this.#orders.at(-5) !== index) return;
    const [, high, low, seq, before] = this.#orders.splice(-5);
    producers.forget(high, low, seq, before);
  }
}
