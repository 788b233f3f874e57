// One relay as a node uses it: channels opened and opened again by position, publications sent until they are answered, history
// asked for. Knows a link only as something to send with; no clock, randomness or socket of its own.

import { SEQ_MAX } from "../wire/client-messages.ts";
import { channelIdAt, encodePublish, offsetAt, type Producer, payloadOf, setChannelId, timeAt } from "../wire/frame.ts";
import type { Link, LinkEvents } from "../wire/link.ts";
import type { Gap, Position, Readable } from "../wire/position.ts";
import {
  type Member,
  OUTCOME_STORAGE,
  type Policy,
  type RelayMessage,
  type RelayMessageOf,
} from "../wire/relay-messages.ts";
import { Outbox, type Outgoing, type Publisher, type PublishResult } from "./outbox.ts";

export type LinkPort = Pick<Link, "isUp" | "send" | "sendMessage" | "close">;

/** A channel as the uplink serves it: what it wants of the relay, and what it is told. Its methods must not throw. */
export interface ChannelPort {
  readonly name: string;
  readonly policy: Policy;
  readonly presence: boolean;
  /** Whether it wants publications, or is only published to. */
  readonly isFollowed: boolean;
  /** Where to go on after a lost link; null: at the top. */
  readonly position: Position | null;
  opened(opened: RelayMessageOf<"opened">): void;
  publication(offset: number, timeMs: number, payload: string): void;
  entered(client: string, info: Uint8Array): void;
  left(client: string): void;
  /** The relay will not open it now; it is asked again by itself. */
  openRefused(): void;
}

/** A channel's place on an uplink. */
export type Opening = {
  readonly port: ChannelPort;
  /** The relay's number for the channel; 0: not open. */
  id: number;
  /** Publications to it that are in the outbox. */
  unacknowledged: number;
  /** What was last asked of the relay on this connection. */
  asked: "nothing" | "open" | "open_followed";
};

/** Who publishes, and with which number, where somebody may repeat it. */
export type Identity = { readonly producer: Producer; readonly seq: number };

export type Question = { readonly since: Position | null; readonly limit: number; readonly reverse: boolean };
/** A page of history: parallel lists, oldest first. */
export type Page = {
  readonly readable: Readable;
  readonly gap: Gap | null;
  readonly offsets: number[];
  readonly timesMs: number[];
  readonly payloads: string[];
};
/** Undefined: the link was lost, or the relay does not know the channel; nothing is known. */
export type OnPage = (page: Page | undefined) => void;

/** How a node shows itself to those who watch the registry. */
export type Membership = Pick<Member, "address" | "state" | "connections">;

/** How long a publisher waits for a relay that does not answer, before it is told to try again. */
const PUBLISH_DEADLINE_MS = 10_000;
/** Questions to one relay that may be unanswered. */
const QUESTIONS_MAX = 4096;

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

export class Uplink implements LinkEvents {
  readonly relay: string;
  readonly #connect: (events: LinkEvents) => LinkPort;
  readonly #random32: () => number;
  readonly #onChange: (change: string) => void;
  #link: LinkPort;
  readonly #openings = new Map<string, Opening>();
  readonly #byId = new Map<number, Opening>();
  readonly #outbox = new Outbox();
  readonly #questions = new Map<number, OnPage>();
  #lastQuestion = 0;
  /** The page whose publications are arriving. */
  #page: { readonly page: Page; readonly onPage: OnPage; missing: number } | undefined;
  #producer: Producer;
  #seq = 0;
  #membership: Membership | undefined;

  /** `random32`: an unsigned 32-bit integer. `onChange`: for the log. */
  constructor(
    relay: string,
    connect: (events: LinkEvents) => LinkPort,
    random32: () => number,
    onChange: (change: string) => void,
  ) {
    this.relay = relay;
    this.#connect = connect;
    this.#random32 = random32;
    this.#onChange = onChange;
    this.#producer = { high: random32(), low: random32() };
    this.#link = connect(this);
  }

  get isUp(): boolean {
    return this.#link.isUp;
  }

  /** Publications that are not answered yet. */
  get unacknowledged(): number {
    return this.#outbox.size;
  }

  /** Tells the relay how this node is, now and on every new connection. */
  register(membership: Membership): void {
    this.#membership = membership;
    this.#link.sendMessage({ type: "register", ...membership, counts: {} });
  }

  /** Opens a channel, now or as soon as there is a link; on every new connection again. */
  open(port: ChannelPort): Opening {
    const opening: Opening = { port, id: 0, unacknowledged: 0, asked: "nothing" };
    this.#openings.set(port.name, opening);
    this.#ask(opening);
    return opening;
  }

  /** The channel is followed from now on: it was opened only to be published to. */
  follow(opening: Opening): void {
    this.#ask(opening);
  }

  /** Closes a channel. False: not now, for something is on its way. */
  close(opening: Opening): boolean {
    if (opening.unacknowledged > 0 || (opening.asked !== "nothing" && opening.id === 0)) return false;
    this.#openings.delete(opening.port.name);
    if (opening.id !== 0) this.#closeNow(opening);
    return true;
  }

  /** Takes a publication; without an identity it is this node's own. False: the relay is behind, or away for too long. */
  publish(
    opening: Opening,
    identity: Identity | undefined,
    payload: Uint8Array,
    nowMs: number,
    publisher: Publisher,
  ): boolean {
    const { producer, seq } = identity ?? this.#ownIdentity();
    const frame = encodePublish(0, producer, seq, payload);
    const isRepeatable = identity !== undefined;
    const entry = { destination: opening, frame, isRepeatable, takenAtMs: nowMs, publisher, wasSent: false };
    if (!this.#outbox.add(entry)) return false;
    this.#pump();
    return true;
  }

  /** Asks for history. False: not now. */
  ask(opening: Opening, question: Question, onPage: OnPage): boolean {
    if (!this.#link.isUp || opening.id === 0 || this.#questions.size >= QUESTIONS_MAX) return false;
    this.#lastQuestion = (this.#lastQuestion + 1) >>> 0;
    const request = this.#lastQuestion;
    this.#questions.set(request, onPage);
    this.#link.sendMessage({ type: "history", request, id: opening.id, ...question });
    return true;
  }

  /** A client is present. No-op while the channel is not open: the port says it again when it is. */
  enter(opening: Opening, client: string, info: Uint8Array): void {
    if (opening.id !== 0) this.#link.sendMessage({ type: "enter", id: opening.id, client, info });
  }

  leave(opening: Opening, client: string): void {
    if (opening.id !== 0) this.#link.sendMessage({ type: "leave", id: opening.id, client });
  }

  /** Once a second: asks again for what was refused, and tells publishers that have waited too long. */
  tick(nowMs: number): void {
    for (const opening of this.#openings.values()) this.#ask(opening);
    this.#tell(this.#outbox.expire(nowMs - PUBLISH_DEADLINE_MS), "busy");
  }

  /** Gives the connection up and dials a new one. */
  redial(reason: string): void {
    this.#link.close();
    this.lost(reason, true);
    this.#link = this.#connect(this);
  }

  /** Ends the link for good. */
  end(): void {
    this.#link.close();
  }

  welcome(): void {
    this.#onChange("linked");
    if (this.#membership !== undefined) this.register(this.#membership);
    for (const opening of this.#openings.values()) this.#ask(opening);
  }

  lost(reason: string, wasUp: boolean): void {
    if (!wasUp) return;
    this.#onChange(`link lost: ${reason}`);
    this.#outbox.disconnected();
    this.#byId.clear();
    for (const opening of this.#openings.values()) {
      opening.id = 0;
      opening.asked = "nothing";
    }
    this.#page = undefined;
    const unanswered = [...this.#questions.values()];
    this.#questions.clear();
    for (const onPage of unanswered) onPage(undefined);
  }

  publication(bytes: Uint8Array, start: number, end: number): void {
    const offset = offsetAt(bytes, start);
    const timeMs = timeAt(bytes, start);
    if (this.#page === undefined) {
      const opening = this.#byId.get(channelIdAt(bytes, start));
      opening?.port.publication(offset, timeMs, decoder.decode(payloadOf(bytes, start, end)));
      return;
    }
    const { offsets, timesMs, payloads } = this.#page.page;
    offsets.push(offset);
    timesMs.push(timeMs);
    payloads.push(decoder.decode(payloadOf(bytes, start, end)));
    if (--this.#page.missing === 0) this.#turnPage();
  }

  message(message: RelayMessage): void {
    switch (message.type) {
      case "opened":
        return this.#opened(message);
      case "open_refused":
        return this.#openRefused(message);
      case "ack":
        for (const outcome of message.outcomes) this.#answered(outcome);
        return;
      case "page":
        return this.#paged(message);
      case "entered":
        return this.#byId.get(message.id)?.port.entered(message.client, message.info);
      case "left":
        return this.#byId.get(message.id)?.port.left(message.client);
      default:
        return undefined;
    }
  }

  /** Brings what was asked of the relay in line with what is wanted. */
  #ask(opening: Opening): void {
    const { port, asked } = opening;
    const wanted = port.isFollowed ? "open_followed" : "open";
    if (!this.#link.isUp || asked === wanted || asked === "open_followed") return;
    if (asked === "open") {
      // Opened only to be published to. The relay takes a channel once per link; if it has not answered yet, we come back when it has.
      if (opening.id === 0) return;
      this.#closeNow(opening);
    }
    opening.asked = wanted;
    const { name: channel, policy, presence, isFollowed: live, position: since } = port;
    this.#link.sendMessage({ type: "open", channel, live, presence: presence && live, policy, since });
  }

  #closeNow(opening: Opening): void {
    this.#link.sendMessage({ type: "close", id: opening.id });
    this.#byId.delete(opening.id);
    opening.id = 0;
    opening.asked = "nothing";
  }

  #opened(message: RelayMessageOf<"opened">): void {
    const opening = this.#openings.get(message.channel);
    if (opening === undefined) return;
    opening.id = message.id;
    this.#byId.set(message.id, opening);
    opening.port.opened(message);
    this.#ask(opening);
    this.#pump();
  }

  #openRefused({ channel, reason }: RelayMessageOf<"open_refused">): void {
    const opening = this.#openings.get(channel);
    if (opening === undefined) return;
    opening.asked = "nothing";
    this.#tell(this.#outbox.refuse(opening), reason === "storage" ? "storage" : "busy");
    opening.port.openRefused();
    this.#pump();
  }

  #paged({ request, found, count, gap, epoch, first, top, trimmed }: RelayMessageOf<"page">): void {
    const onPage = this.#questions.get(request);
    if (onPage === undefined) return;
    this.#questions.delete(request);
    if (!found) return onPage(undefined);
    const page = { readable: { epoch, first, top, trimmed }, gap, offsets: [], timesMs: [], payloads: [] };
    this.#page = { page, onPage, missing: count };
    if (count === 0) this.#turnPage();
  }

  #turnPage(): void {
    const turned = this.#page;
    this.#page = undefined;
    turned?.onPage(turned.page);
  }

  #answered(outcome: number): void {
    const entry = this.#outbox.takeAnswered();
    if (entry === undefined) return;
    const refusal = outcome === OUTCOME_STORAGE ? "storage" : "busy";
    this.#tell([entry], outcome < 0 ? refusal : outcome);
  }

  #tell(entries: readonly Outgoing[], result: PublishResult): void {
    for (const entry of entries) {
      const { publisher } = entry;
      entry.publisher = undefined;
      publisher?.published(result);
    }
  }

  /** Sends what may be sent, in order. */
  #pump(): void {
    if (!this.#link.isUp) return;
    for (let entry = this.#outbox.takeUnsent(); entry !== undefined; entry = this.#outbox.takeUnsent()) {
      setChannelId(entry.frame, 0, entry.destination.id);
      this.#link.send(entry.frame);
    }
  }

  /** The next number of this node's own, for publications that nobody but this node repeats. */
  #ownIdentity(): Identity {
    if (this.#seq === SEQ_MAX) {
      this.#producer = { high: this.#random32(), low: this.#random32() };
      this.#seq = 0;
    }
    return { producer: this.#producer, seq: ++this.#seq };
  }
}
