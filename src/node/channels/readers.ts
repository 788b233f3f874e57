// The readers of one channel in this node: the state of each subscription, from the request until
// it is live, and when the relay has to be asked for what the cache does not have. Pure.

import type { RequestId } from "../../wire/client-messages.ts";
import { type Gap, type Position, resume } from "../../wire/position.ts";
import type { OnPage, Page, Question } from "../uplink/broker.ts";
import type { HistoryCache, Want } from "./history-cache.ts";
import type { Subscriber } from "./subscriber.ts";

/** More than a page can carry: pages are limited by their bytes. */
const PAGE_LIMIT = 10_000;

/**
 * `waiting`: for the relay. `hasOk`: its client has the `ok`, after which its position only moves
 * forward, or a `gap` says why not. `isAsked`: the open question covers it, so that the answer may
 * say that something is out of reach.
 * `behind`: the client has its `ok`, and has to read what it was sent before it gets more.
 * `live`: it gets what is published, natively.
 */
export type SubscriptionState =
  | {
      readonly name: "waiting";
      readonly want: Want;
      readonly hasOk: boolean;
      readonly isAsked: boolean;
    }
  | { readonly name: "behind"; readonly position: Position }
  | { readonly name: "live" }
  | { readonly name: "ended" };

/** A channel, as the holder of a subscription sees it. */
export interface SubscribedChannel {
  readonly name: string;
  unsubscribe(subscription: Readonly<Subscription>, isResubscribing?: boolean): void;
  clientDrained(subscription: Readonly<Subscription>): void;
}

/** One session's subscription to one channel. */
export class Subscription {
  readonly subscriber: Subscriber;
  readonly channel: SubscribedChannel;
  readonly requestId: RequestId | undefined;
  /** When to give up waiting for a relay. */
  readonly deadlineMs: number;
  /** Only Readers writes it. */
  state: SubscriptionState;

  constructor(
    subscriber: Subscriber,
    channel: SubscribedChannel,
    requestId: RequestId | undefined,
    want: Want,
    deadlineMs: number,
  ) {
    this.subscriber = subscriber;
    this.channel = channel;
    this.requestId = requestId;
    this.deadlineMs = deadlineMs;
    this.state = { name: "waiting", want, hasOk: false, isAsked: false };
  }
}

/** What the readers of a channel need of it. */
export interface ReadersContext {
  readonly cache: HistoryCache;
  wallMs(): number;
  /** Asks the relay for history. False: not now. */
  requestHistory(question: Question, onPage: OnPage): boolean;
  /** A client has its `ok`. */
  readerAccepted(subscriber: Subscriber): void;
  /** A subscriber has all that was published: it gets the rest natively. */
  readerIsLive(subscriber: Subscriber): void;
}

export class Readers {
  readonly #context: ReadersContext;
  /** Those that wait for the relay. */
  readonly #waiting = new Set<Subscription>();
  /** Those whose clients have to read what they were sent before they get more. */
  readonly #behind = new Set<Subscription>();
  /** What the relay has been asked for those that wait. */
  #question: Question | undefined;

  constructor(context: ReadersContext) {
    this.#context = context;
  }

  /** How many subscriptions are not live yet. */
  get catchingUp(): number {
    return this.#waiting.size + this.#behind.size;
  }

  /** Starts a subscription: at once where the cache allows, else when the relay has answered. */
  start(subscription: Subscription): void {
    if (subscription.state.name === "waiting")
      this.#serve(subscription, subscription.state.want, false);
  }

  /** The client has read what it was sent. */
  clientDrained(subscription: Subscription): void {
    if (subscription.state.name === "behind" && this.#behind.delete(subscription))
      this.#serve(subscription, subscription.state.position, true);
  }

  /** Ends a subscription. Returns the state it was in. */
  end(subscription: Subscription): SubscriptionState {
    const { state } = subscription;
    this.#waiting.delete(subscription);
    this.#behind.delete(subscription);
    subscription.state = { name: "ended" };
    return state;
  }

  /** Sends to those that have their `ok` but are not live yet. */
  sendToCatchingUp(json: string): void {
    for (const { state, subscriber } of [...this.#waiting, ...this.#behind])
      if (state.name !== "waiting" || state.hasOk) subscriber.sendText(json);
  }

  /** The channel is open (again), or the relay may be asked again. */
  retry(): void {
    if (this.#waiting.size === 0) return;
    for (const subscription of [...this.#waiting]) this.#serveAgain(subscription);
  }

  /** Those that have waited for their `ok` beyond their deadline. */
  overdue(nowMs: number): Subscription[] {
    if (this.#waiting.size === 0) return [];
    return [...this.#waiting].filter(
      ({ state, deadlineMs }) => state.name === "waiting" && !state.hasOk && deadlineMs < nowMs,
    );
  }

  #serve(subscription: Subscription, want: Want, hasOk: boolean): void {
    const { cache } = this.#context;
    const offset = cache.find(want, this.#context.wallMs());
    if (offset !== undefined)
      return this.#catchUp(subscription, { epoch: cache.epoch, offset }, null, hasOk);
    subscription.state = {
      name: "waiting",
      want,
      hasOk,
      isAsked: subscription.state.name === "waiting" && subscription.state.isAsked,
    };
    this.#waiting.add(subscription);
    this.#askRelay();
  }

  #serveAgain(subscription: Subscription): void {
    const { state } = subscription;
    if (state.name === "waiting") this.#serve(subscription, state.want, state.hasOk);
  }

  /** In one turn: tells the position, sends what was missed, and makes the subscription live. */
  #catchUp(subscription: Subscription, start: Position, gap: Gap | null, hasOk: boolean): void {
    const { subscriber } = subscription;
    const { cache } = this.#context;
    this.#waiting.delete(subscription);
    subscription.state = { name: "behind", position: start };
    subscriber.cork(() => {
      this.#tellPosition(subscription, start, gap, hasOk);
      let hasRoom = true;
      const offset = cache.read(start.offset, (json) => {
        subscriber.sendRequested(json);
        hasRoom = subscriber.hasRoom;
        return hasRoom;
      });
      // What was sent may have ended the connection.
      if (hasEnded(subscription)) return;
      const position = { epoch: start.epoch, offset };
      if (offset >= cache.top) {
        subscription.state = { name: "live" };
        this.#context.readerIsLive(subscriber);
      } else if (hasRoom) {
        this.#serve(subscription, position, true);
      } else {
        subscription.state = { name: "behind", position };
        this.#behind.add(subscription);
      }
    });
  }

  /** `gap`: what the client can never be given. */
  #tellPosition(
    { subscriber, channel: { name: channel }, requestId: id }: Subscription,
    position: Position,
    gap: Gap | null,
    hasOk: boolean,
  ): void {
    if (!hasOk) {
      const recovered = gap === null;
      const lost = gap === null ? {} : { gap };
      subscriber.sendMessage({ type: "ok", id, channel, position, recovered, ...lost });
      this.#context.readerAccepted(subscriber);
    } else if (gap !== null) subscriber.sendMessage({ type: "gap", channel, ...gap, position });
  }

  /** Asks for all that wait: from the lowest position, or for the most that anyone wants. */
  #askRelay(): void {
    if (this.#question !== undefined || this.#waiting.size === 0) return;
    const question = questionFor(this.#waiting, this.#context.cache.epoch);
    const onPage = (page: Page | undefined) => this.#pageArrived(question, page);
    if (!this.#context.requestHistory(question, onPage)) return;
    this.#question = question;
    this.#markAsked((want) => question.reverse === (typeof want === "number"));
  }

  /**
   * Answers those that waited when the question was asked; for those that came later the cache may
   * now have what they want.
   */
  #pageArrived(question: Question, page: Page | undefined): void {
    if (page === undefined) {
      this.#markAsked(() => false);
      this.#question = undefined;
      return;
    }
    const waiting = [...this.#waiting];
    const run = this.#context.cache.keepPage(question, page);
    const { readable } = page;
    const { epoch } = readable;
    for (const subscription of waiting) {
      const { state } = subscription;
      if (state.name !== "waiting") continue;
      const { want, hasOk } = state;
      if (!state.isAsked) {
        this.#serve(subscription, want, hasOk);
      } else if (typeof want === "number") {
        const offset = want < run.count ? run.offsetAt(run.count - want) - 1 : run.after;
        this.#catchUp(subscription, { epoch, offset }, null, hasOk);
      } else {
        const { after, gap } = resume(want, readable);
        this.#catchUp(subscription, { epoch, offset: after }, gap, hasOk);
      }
    }
    this.#question = undefined;
    this.#askRelay();
  }

  #markAsked(isAsked: (want: Want) => boolean): void {
    for (const subscription of this.#waiting)
      if (subscription.state.name === "waiting")
        subscription.state = { ...subscription.state, isAsked: isAsked(subscription.state.want) };
  }
}

const hasEnded = ({ state }: Subscription) => state.name === "ended";

function questionFor(waiting: Iterable<Subscription>, epoch: string): Question {
  let newest = 0;
  let other: Position | undefined;
  let lowest: Position | undefined;
  for (const { state } of waiting) {
    if (state.name !== "waiting") continue;
    const { want } = state;
    if (typeof want === "number") newest = Math.max(newest, want);
    else if (want.epoch !== epoch) other = want;
    else if (lowest === undefined || want.offset < lowest.offset) lowest = want;
  }
  const since = lowest ?? other ?? null;
  return since === null
    ? { since, limit: newest, reverse: true }
    : { since, limit: PAGE_LIMIT, reverse: false };
}
