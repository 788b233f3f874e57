// A turn's publications between their place in the head segment and the write that journals them:
// forwarded to the channels' links after it, or taken back when it fails. Pure.

import { producerHighAt, producerLowAt, seqAt } from "../wire/frame.ts";
import { OUTCOME_STORAGE } from "../wire/relay-messages.ts";
import type { Channel } from "./channel.ts";
import type { Channels } from "./channels.ts";
import type { Producers } from "./producers.ts";
import type { RelayLink } from "./relay-link.ts";
import { type Place, positionOf, SEGMENT_BYTES, type Segments } from "./segments.ts";

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

  constructor(segments: Segments) {
    this.#segments = segments;
  }

  get isEmpty(): boolean {
    return this.#channels.length === 0;
  }

  /** To be called before the channel and the link's outcomes know of the publication. */
  stage(channel: Channel, link: RelayLink, place: Place): void {
    this.#channels.push(channel);
    this.#places.push(place);
    this.#topsAt.push(channel.topAt);
    this.#links.push(link);
    this.#outcomes.push(link.outcomes.length);
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

  /** Takes the publications back, newest first, and refuses them: they could not be stored. */
  retract(channels: Channels, producers: Producers): void {
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
      producers.forget(producerHighAt(head, at), producerLowAt(head, at), seqAt(head, at));
      this.#links[i].outcomes[this.#outcomes[i]] = OUTCOME_STORAGE;
      this.#links[i].refusing.add(channel.id);
    }
    segments.truncate(positionOf(this.#places[0]));
  }

  clear(): void {
    this.#channels.length = 0;
    this.#places.length = 0;
    this.#topsAt.length = 0;
    this.#links.length = 0;
    this.#outcomes.length = 0;
  }
}
