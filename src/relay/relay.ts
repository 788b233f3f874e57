// The relay's state machine: what each message of a link does. Frames and the time come in; what is
// to be sent waits in the links' outboxes. Pure: no socket, clock, file or randomness.

import { isPublicationLayout, opcodeOf, PUBLISH } from "../wire/frame.ts";
import { resume } from "../wire/position.ts";
import { linkProof, NONCE_BYTES, relayProof, sameProof } from "../wire/proof.ts";
import {
  decodeRelayMessage,
  encodeRelayMessage,
  type InvalidRelayMessage,
  RELAY_PROTOCOL_VERSION,
  type RelayMessage,
  type RelayMessageOf,
  readRelayMessage,
} from "../wire/relay-messages.ts";
import { Malformed } from "../wire/shape.ts";
import type { Channel } from "./channels/channel.ts";
import { gatherBuffer } from "./links/outbox.ts";
import { Presence } from "./links/presence.ts";
import { Registry } from "./links/registry.ts";
import { type Opening, RelayLink } from "./links/relay-link.ts";
import type { Store } from "./store/store.ts";

/** Maximum frame bytes of one page of history. */
const PAGE_BYTES_MAX = 1024 * 1024;
/** Maximum outcomes of one ACK. */
const ACK_OUTCOMES_MAX = 50_000;
const EPOCH_BYTES = 8;

export type RelayIdentity = {
  readonly id: string;
  readonly secret: string;
  /** Random id of this journal's lineage. */
  readonly lineage: string;
  /** The interval at which links ping, ms. */
  readonly pingMs: number;
  readonly startedAtMs: number;
};

export class Relay {
  readonly #identity: RelayIdentity;
  readonly #store: Store;
  readonly #random: (bytes: number) => Uint8Array;
  readonly #registry = new Registry();
  readonly #presence = new Presence();
  readonly #links = new Set<RelayLink>();
  readonly #dirty: RelayLink[] = [];
  readonly #gather = gatherBuffer();
  #questions = 0;
  /** Links that published in this turn. */
  readonly #publishers: RelayLink[] = [];

  constructor(identity: RelayIdentity, store: Store, random: (bytes: number) => Uint8Array) {
    this.#identity = identity;
    this.#store = store;
    this.#random = random;
  }

  get linkCount(): number {
    return this.#links.size;
  }

  /** All counts. `openings`: open channels of all links. `questions`: HISTORY frames so far. */
  counts(): Record<string, number> {
    let openings = 0;
    for (const link of this.#links) openings += link.openings.size;
    const { size: channels, historyBytes } = this.#store.channels;
    return {
      links: this.#links.size,
      openings,
      channels,
      historyBytes,
      questions: this.#questions,
    };
  }

  connect(): RelayLink {
    const link = new RelayLink(this.#dirty, this.#gather);
    this.#links.add(link);
    return link;
  }

  /**
   * Handles one complete frame. Returns what is wrong with a message that has a wrong field: that
   * message alone is refused. Throws Malformed: the shell then ends the link with `end`.
   */
  receive(
    link: RelayLink,
    bytes: Uint8Array,
    start: number,
    end: number,
    nowMs: number,
  ): string | undefined {
    if (link.phase === "up" && opcodeOf(bytes, start) === PUBLISH) {
      if (!isPublicationLayout(bytes, start, end))
        throw new Malformed("a PUBLISH is not of the fixed layout");
      if (link.outcomes.length === 0) this.#publishers.push(link);
      this.#store.publish(link, bytes, start, end, nowMs);
    } else if (link.phase === "up") {
      const message = readRelayMessage(bytes, start, end);
      if (message.type === "invalid") return this.#refuseInvalid(link, message);
      this.#messageReceived(link, message, nowMs);
    } else if (link.phase !== "ended") {
      this.#handshake(link, decodeRelayMessage(bytes, start, end), nowMs);
    }
    return undefined;
  }

  /** Ends a link and sends it the reason. The shell closes the socket after the outbox. */
  end(link: RelayLink, reason: string, message: string): void {
    if (link.phase === "ended") return;
    link.send(encodeRelayMessage({ type: "bye", reason, message: message.slice(0, 500) }));
    this.disconnect(link);
  }

  /** The link is gone: removes its membership, its openings and its clients' presence. */
  disconnect(link: RelayLink): void {
    if (!this.#links.delete(link)) return;
    link.phase = "ended";
    this.#registry.linkClosed(link);
    for (const opening of link.openings.values()) this.#releaseOpening(link, opening);
    link.openings.clear();
  }

  /** End of an event-loop turn: journals, forwards and acknowledges the turn's publications. */
  endTurn(): void {
    this.#store.commit();
    for (const link of this.#publishers) {
      for (let from = 0; from < link.outcomes.length; from += ACK_OUTCOMES_MAX) {
        const outcomes = link.outcomes.slice(from, from + ACK_OUTCOMES_MAX);
        link.send(encodeRelayMessage({ type: "ack", outcomes }));
      }
      link.outcomes.length = 0;
    }
    this.#publishers.length = 0;
  }

  /** Links with something to be sent since the last call. */
  takeDirty(): RelayLink[] {
    const dirty = this.#dirty.splice(0);
    for (const link of dirty) link.clearDirty();
    for (const link of dirty) if (link.isOverfull) this.#cutLink(link);
    return dirty;
  }

  /** To be called about once a second. */
  tick(nowMs: number): void {
    this.#store.sweep(nowMs);
  }

  /** The segment is about to be reused: cuts links that have yet to be sent frames of it. */
  cutLaggards(segment: number): void {
    for (const link of this.#links) if (link.outbox.oldestSegment() <= segment) this.#cutLink(link);
  }

  /**
   * Ends a link that reads too slowly. Its outbox is dropped, so it gets no reason; it resumes by
   * position.
   */
  #cutLink(link: RelayLink): void {
    link.outbox.clear();
    link.isTooSlow = true;
    link.markDirty();
    this.disconnect(link);
  }

  #handshake(link: RelayLink, message: RelayMessage, nowMs: number): void {
    const { id, secret, lineage, pingMs, startedAtMs } = this.#identity;
    if (message.type === "hello" && link.phase === "awaitingHello") {
      if (message.version !== RELAY_PROTOCOL_VERSION)
        throw new Malformed(
          `this relay speaks version ${RELAY_PROTOCOL_VERSION}, not ${message.version}`,
        );
      link.phase = "awaitingProof";
      link.role = message.role;
      link.name = message.id;
      link.linkNonce = message.nonce.slice();
      link.relayNonce = this.#random(NONCE_BYTES);
      const proof = relayProof(secret, link.linkNonce, link.relayNonce);
      link.send(encodeRelayMessage({ type: "challenge", nonce: link.relayNonce, proof }));
    } else if (message.type === "prove" && link.phase === "awaitingProof") {
      const proof = linkProof(secret, link.linkNonce, link.relayNonce, link.role, link.name);
      if (!sameProof(message.proof, proof))
        throw new Malformed("the cluster secret is wrong: give every process the same secret file");
      link.phase = "up";
      const uptimeMs = Math.max(0, Math.round(nowMs - startedAtMs));
      link.send(encodeRelayMessage({ type: "welcome", relay: id, lineage, uptimeMs, pingMs }));
    } else {
      throw new Malformed(`${message.type} before welcome`);
    }
  }

  #messageReceived(link: RelayLink, message: RelayMessage, nowMs: number): void {
    switch (message.type) {
      case "ping":
        return link.send(encodeRelayMessage({ type: "pong" }));
      case "pong":
        return;
      case "open":
        return this.#openChannel(link, message, nowMs);
      case "close":
        return this.#closeChannel(link, message.id, nowMs);
      case "history":
        return this.#sendHistory(link, message, nowMs);
      case "register": {
        const replaced = this.#registry.register(link, message);
        if (replaced !== undefined)
          this.end(replaced, "replaced", "another link registered as the same process");
        return;
      }
      case "watch":
        return this.#registry.addWatcher(link);
      case "enter":
        return this.#presence.clientEntered(
          link,
          this.#openingOf(link, message.id).channel,
          message.client,
          message.info,
        );
      case "leave":
        return this.#presence.clientLeft(
          link,
          this.#openingOf(link, message.id).channel,
          message.client,
        );
      case "bye":
        return this.disconnect(link);
      default:
        throw new Malformed(`${message.type} is not for a relay`);
    }
  }

  /** Answers a message with a wrong field, where it can be told what it asks. */
  #refuseInvalid(link: RelayLink, { readable, reason }: InvalidRelayMessage): string {
    if (readable.type === "open" && readable.channel !== undefined) {
      const { channel } = readable;
      link.send(encodeRelayMessage({ type: "open_refused", channel, reason: "malformed" }));
    } else if (readable.type === "history" && readable.request !== undefined) {
      this.#sendNothingFound(link, readable.request);
    }
    return reason;
  }

  #openChannel(link: RelayLink, message: RelayMessageOf<"open">, nowMs: number): void {
    const epoch = Buffer.from(this.#random(EPOCH_BYTES)).toString("hex");
    const channel = this.#store.open(message.channel, message.policy, epoch, nowMs);
    if (typeof channel === "string") {
      link.send(
        encodeRelayMessage({ type: "open_refused", channel: message.channel, reason: channel }),
      );
      return;
    }
    if (link.openings.has(channel.id))
      throw new Malformed("the channel is already open on this link: close it first");
    const { live, presence, since } = message;
    link.openings.set(channel.id, { channel, live, presence });
    this.#store.channels.opened(channel, nowMs);
    if (live) channel.live.push(link);
    this.#store.channels.expire(channel, nowMs);
    const { after, gap } =
      since === null ? { after: channel.top, gap: null } : resume(since, channel.readable);
    const { id, name } = channel;
    const members = presence ? channel.members.size : 0;
    const missed = channel.top - after;
    link.send(
      encodeRelayMessage({
        type: "opened",
        channel: name,
        id,
        ...channel.readable,
        gap,
        missed,
        members,
      }),
    );
    for (let offset = after + 1; offset <= channel.top; offset++)
      this.#sendRemembered(link, channel, offset);
    if (presence) this.#presence.addObserver(link, channel);
  }

  #closeChannel(link: RelayLink, id: number, nowMs: number): void {
    const opening = this.#openingOf(link, id);
    link.openings.delete(id);
    opening.channel.usedAtMs = nowMs;
    this.#releaseOpening(link, opening);
  }

  /** Undoes what `#openChannel` did to the channel. */
  #releaseOpening(link: RelayLink, { channel, live, presence }: Opening): void {
    this.#store.channels.released(channel);
    if (live) channel.live.splice(channel.live.indexOf(link), 1);
    if (presence) channel.observers.splice(channel.observers.indexOf(link), 1);
    this.#presence.linkClosed(link, channel);
  }

  #openingOf(link: RelayLink, id: number): Opening {
    const opening = link.openings.get(id);
    if (opening === undefined) throw new Malformed(`channel ${id} is not open on this link`);
    return opening;
  }

  #sendHistory(link: RelayLink, message: RelayMessageOf<"history">, nowMs: number): void {
    this.#questions++;
    this.#store.commit();
    const { request, since, reverse } = message;
    const channel = link.openings.get(message.id)?.channel;
    if (channel === undefined) return this.#sendNothingFound(link, request);
    this.#store.channels.expire(channel, nowMs);
    const { readable } = channel;
    const resumed =
      since === null ? { after: readable.first - 1, gap: null } : resume(since, readable);
    const wanted = reverse
      ? this.#lastBefore(
          channel,
          resumed.gap?.reason === "epoch" ? 0 : (since?.offset ?? readable.top + 1),
          message.limit,
        )
      : this.#firstAfter(channel, resumed.after, message.limit);
    const gap = reverse && resumed.gap?.reason !== "epoch" ? null : resumed.gap;
    link.send(
      encodeRelayMessage({
        type: "page",
        request,
        found: true,
        ...readable,
        gap,
        count: wanted.to - wanted.from + 1,
      }),
    );
    for (let offset = wanted.from; offset <= wanted.to; offset++)
      this.#sendRemembered(link, channel, offset);
  }

  #sendNothingFound(link: RelayLink, request: number): void {
    const nothing = {
      epoch: "none",
      first: 0,
      top: 0,
      trimmed: "expired" as const,
      gap: null,
      count: 0,
    };
    link.send(encodeRelayMessage({ type: "page", request, found: false, ...nothing }));
  }

  /** The longest run of offsets after `after` that fits a page. */
  #firstAfter(channel: Channel, after: number, limit: number): { from: number; to: number } {
    const from = after + 1;
    let to = after;
    for (let bytes = 0; to < channel.top && to - after < limit; to++) {
      bytes += channel.frameBytesOf(to + 1);
      if (bytes > PAGE_BYTES_MAX && to > after) break;
    }
    return { from, to };
  }

  /** The longest run of offsets that ends just before `before` and fits a page. */
  #lastBefore(channel: Channel, before: number, limit: number): { from: number; to: number } {
    const to = Math.min(channel.top, before - 1);
    let from = to + 1;
    for (let bytes = 0; from > channel.first && to + 1 - from < limit; from--) {
      bytes += channel.frameBytesOf(from - 1);
      if (bytes > PAGE_BYTES_MAX && from <= to) break;
    }
    return { from, to };
  }

  #sendRemembered(link: RelayLink, channel: Channel, offset: number): void {
    const place = channel.placeOf(offset);
    link.sendRun(place, place + channel.frameBytesOf(offset));
  }
}
