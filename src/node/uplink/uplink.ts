// One relay, as a node uses it: opens channels, again by position on every new link, sends
// publications until they are answered, and requests history. Pure: the link is a port.

import type { LinkCore, LinkEvents } from "../../runtime/link-core.ts";
import { SEQ_MAX } from "../../wire/client-messages.ts";
import {
  channelIdAt,
  encodePublish,
  offsetAt,
  type Producer,
  payloadOf,
  setAfter,
  setOrder,
  timeAt,
} from "../../wire/frame.ts";
import {
  type InvalidRelayMessage,
  type Member,
  OUTCOME_ORDER,
  OUTCOME_STORAGE,
  OUTCOME_UNKNOWN,
  type RelayMessage,
  type RelayMessageOf,
} from "../../wire/relay-messages.ts";
import type { ChannelPort, Identity, OnPage, Opening, Question } from "./broker.ts";
import { ownProducer } from "./identity.ts";
import { Outbox, type Outgoing, type Publisher, type PublishResult } from "./outbox.ts";
import { Questions } from "./questions.ts";

export type LinkPort = Pick<LinkCore, "isUp" | "send" | "sendMessage" | "close">;

/** What the registry shows of a node. */
export type Membership = Pick<Member, "address" | "state" | "connections">;

/** For the log: the new state of the link, and why. */
export type OnLinkChange = (
  change: "linked" | "not linked" | "link lost" | "malformed answer",
  reason: string,
) => void;

/** How long a publisher waits for a relay's answer before it gets "busy", ms. */
const PUBLISH_DEADLINE_MS = 10_000;
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

export class Uplink implements LinkEvents {
  readonly relay: string;
  readonly #connect: (events: LinkEvents) => LinkPort;
  readonly #random32: () => number;
  readonly #onChange: OnLinkChange;
  #link: LinkPort;
  readonly #openings = new Map<string, Opening>();
  readonly #byId = new Map<number, Opening>();
  /** Those that the relay refused to open. */
  readonly #refused = new Set<Opening>();
  readonly #outbox = new Outbox();
  readonly #questions = new Questions();
  /** When something was last published, or the last tick. */
  #nowMs = 0;
  #membership: Membership | undefined;
  /** Why the last dial failed. */
  #dialFault = "";

  /** `random32`: an unsigned 32-bit integer. */
  constructor(
    relay: string,
    connect: (events: LinkEvents) => LinkPort,
    random32: () => number,
    onChange: OnLinkChange,
  ) {
    this.relay = relay;
    this.#connect = connect;
    this.#random32 = random32;
    this.#onChange = onChange;
    this.#link = connect(this);
  }

  get isUp(): boolean {
    return this.#link.isUp;
  }

  /** Publications that are not answered yet. */
  get unacknowledged(): number {
    return this.#outbox.size;
  }

  /** Sends this node's registry entry, now and on every new link. */
  register(membership: Membership): void {
    this.#membership = membership;
    this.#link.sendMessage({ type: "register", ...membership, counts: {} });
  }

  /** Opens a channel, now or as soon as there is a link, and on every new link again. */
  openChannel(port: ChannelPort): Opening {
    const opening: Opening = {
      port,
      id: 0,
      unacknowledged: 0,
      asked: "nothing",
      ownProducer: undefined,
      ownSeq: 0,
      newestOwn: undefined,
    };
    this.#openings.set(port.name, opening);
    this.#openOnRelay(opening);
    return opening;
  }

  /** The channel is followed from now on: it was opened only to be published to. */
  followChannel(opening: Opening): void {
    this.#openOnRelay(opening);
  }

  /** Closes a channel. False: not now, something is in flight. */
  closeChannel(opening: Opening): boolean {
    if (opening.unacknowledged > 0 || (opening.asked !== "nothing" && opening.id === 0))
      return false;
    this.#openings.delete(opening.port.name);
    this.#refused.delete(opening);
    if (opening.id !== 0) this.#closeNow(opening);
    return true;
  }

  /**
   * Publishes; without an identity it is this node's own. False: the outbox is full.
   */
  publish(
    opening: Opening,
    identity: Identity | undefined,
    payload: Uint8Array,
    nowMs: number,
    publisher: Publisher,
  ): boolean {
    this.#nowMs = nowMs;
    const isOwn = identity === undefined || identity.isOwn;
    const order = isOwn ? this.#ownProducer(opening) : identity.order;
    const seq = isOwn ? ++opening.ownSeq : identity.seq;
    const frame = encodePublish(0, identity?.producer ?? order, seq, payload);
    setOrder(frame, 0, order);
    setAfter(frame, 0, isOwn ? 0 : identity.after);
    const entry: Outgoing = {
      destination: opening,
      frame,
      isRepeatable: identity !== undefined,
      isOwn,
      takenAtMs: nowMs,
      ageMs: identity?.ageMs ?? 0,
      publisher,
      wasSent: false,
      isAnswered: false,
      before: undefined,
      ordinal: 0,
    };
    if (!this.#outbox.add(entry)) return false;
    this.#pump();
    return true;
  }

  /** Requests history. False: not now. */
  requestHistory(opening: Opening, question: Question, onPage: OnPage): boolean {
    if (!this.#link.isUp || opening.id === 0) return false;
    const request = this.#questions.add(onPage);
    if (request === undefined) return false;
    this.#link.sendMessage({ type: "history", request, id: opening.id, ...question });
    return true;
  }

  /**
   * A client is present. No-op while the channel is not open: the channel repeats it when it is.
   */
  enterMember(opening: Opening, client: string, info: Uint8Array): void {
    if (opening.id !== 0) this.#link.sendMessage({ type: "enter", id: opening.id, client, info });
  }

  leaveMember(opening: Opening, client: string): void {
    if (opening.id !== 0) this.#link.sendMessage({ type: "leave", id: opening.id, client });
  }

  /**
   * Once a second: opens refused channels again, and answers publishers that have waited too long.
   */
  tick(nowMs: number): void {
    this.#nowMs = nowMs;
    for (const opening of this.#refused) this.#openOnRelay(opening);
    this.#refused.clear();
    for (const entry of this.#outbox.expire(nowMs - PUBLISH_DEADLINE_MS)) tell(entry, "busy");
  }

  /** Closes the link and dials a new one. */
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
    this.#onChange("linked", "");
    this.#dialFault = "";
    if (this.#membership !== undefined) this.register(this.#membership);
    for (const opening of this.#openings.values()) this.#openOnRelay(opening);
  }

  lost(reason: string, wasUp: boolean): void {
    if (!wasUp) {
      // It is dialled again several times a second: each reason gets one line.
      if (reason !== this.#dialFault) this.#onChange("not linked", reason);
      this.#dialFault = reason;
      return;
    }
    this.#onChange("link lost", reason);
    this.#outbox.linkLost();
    this.#byId.clear();
    for (const opening of this.#openings.values()) {
      opening.id = 0;
      opening.asked = "nothing";
    }
    this.#questions.linkLost();
  }

  publication(bytes: Uint8Array, start: number, end: number): void {
    const offset = offsetAt(bytes, start);
    const timeMs = timeAt(bytes, start);
    const payload = decoder.decode(payloadOf(bytes, start, end));
    if (this.#questions.isPageArriving) this.#questions.publicationArrived(offset, timeMs, payload);
    else
      this.#byId.get(channelIdAt(bytes, start))?.port.publicationArrived(offset, timeMs, payload);
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
        return this.#questions.pageBegins(message);
      case "entered":
        return this.#byId.get(message.id)?.port.memberEntered(message.client, message.info);
      case "left":
        return this.#byId.get(message.id)?.port.memberLeft(message.client);
      default:
        return undefined;
    }
  }

  /**
   * Fails the question that the message answers. Where it cannot be told what the frames behind it
   * belong to, or which publications an acknowledgement is for, the link is dialed again.
   */
  invalidMessage({ readable, reason }: InvalidRelayMessage): void {
    this.#onChange("malformed answer", reason);
    switch (readable.type) {
      case "page": {
        const { request, count } = readable;
        if (request === undefined || count === undefined) return this.redial(reason);
        return this.#questions.pageFailed(request, count);
      }
      case "opened": {
        const opening = this.#openings.get(readable.channel ?? "");
        if (opening === undefined || readable.id === undefined) return this.redial(reason);
        this.#link.sendMessage({ type: "close", id: readable.id });
        return this.#openRefused({
          type: "open_refused",
          channel: opening.port.name,
          reason: "malformed",
        });
      }
      case "open_refused":
      case "ack":
        return this.redial(reason);
      default:
        return undefined;
    }
  }

  /** Brings what was asked of the relay in line with what is wanted. */
  #openOnRelay(opening: Opening): void {
    const { port, asked } = opening;
    const wanted = port.isFollowed ? "open_followed" : "open";
    if (!this.#link.isUp || asked === wanted || asked === "open_followed") return;
    if (asked === "open") {
      // Opened only to be published to. The relay opens a channel once per link; if it has not
      // answered yet, this runs again when it has.
      if (opening.id === 0) return;
      this.#closeNow(opening);
    }
    opening.asked = wanted;
    const { name: channel, policy, presence, isFollowed: live, position: since } = port;
    this.#link.sendMessage({
      type: "open",
      channel,
      live,
      presence: presence && live,
      policy,
      since,
    });
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
    opening.port.channelOpened(message);
    this.#openOnRelay(opening);
    this.#pump();
  }

  #openRefused({ channel, reason }: RelayMessageOf<"open_refused">): void {
    const opening = this.#openings.get(channel);
    if (opening === undefined) return;
    opening.asked = "nothing";
    this.#refused.add(opening);
    for (const entry of this.#outbox.refuse(opening))
      tell(entry, reason === "storage" ? "storage" : "busy");
    opening.port.openRefused();
    this.#pump();
  }

  #answered(outcome: number): void {
    const isOutOfOrder = outcome === OUTCOME_ORDER;
    const entry = this.#outbox.takeAnswered(isOutOfOrder);
    if (entry === undefined) return;
    if (isOutOfOrder && entry.isOwn) this.#pump();
    else tell(entry, outcome < 0 ? refusalOf(outcome) : outcome);
  }

  /** Sends what may be sent, in order. */
  #pump(): void {
    if (!this.#link.isUp) return;
    for (
      let entry = this.#outbox.takeUnsent(this.#nowMs);
      entry !== undefined;
      entry = this.#outbox.takeUnsent(this.#nowMs)
    )
      this.#link.send(entry.frame);
  }

  /** This node in the channel: the producer of what nobody but this node repeats. */
  #ownProducer(opening: Opening): Producer {
    if (opening.ownProducer === undefined || opening.ownSeq === SEQ_MAX) {
      opening.ownProducer = ownProducer(this.#random32(), this.#random32());
      opening.ownSeq = 0;
    }
    return opening.ownProducer;
  }
}

function tell(entry: Outgoing, result: PublishResult): void {
  const { publisher } = entry;
  entry.publisher = undefined;
  publisher?.published(result);
}

function refusalOf(outcome: number): PublishResult {
  if (outcome === OUTCOME_STORAGE) return "storage";
  if (outcome === OUTCOME_ORDER) return "order";
  return outcome === OUTCOME_UNKNOWN ? "unknown" : "busy";
}
