// One channel that is open in this node: its cache, its readers and their batch, its history
// requests, and who is present. Pure.

import { encodeNodeMessage } from "../../wire/client-messages.ts";
import type { Position } from "../../wire/position.ts";
import type { Policy, RelayMessageOf } from "../../wire/relay-messages.ts";
import type { Route } from "../app/rules.ts";
import { type Encoding, type Frame, frameOf } from "../codec/encoding.ts";
import type { ChannelPort, Identity, OnPage, Opening, Question } from "../uplink/broker.ts";
import type { Publisher } from "../uplink/outbox.ts";
import type { Uplink } from "../uplink/uplink.ts";
import { Batcher } from "./batcher.ts";
import { HistoryCache } from "./history-cache.ts";
import { HistoryRequests, type OnHistory } from "./history-requests.ts";
import { type OnMembers, Presence } from "./presence.ts";
import {
  Readers,
  type ReadersContext,
  type SubscribedChannel,
  type Subscription,
} from "./readers.ts";
import type { Subscriber } from "./subscriber.ts";

/** What a channel needs of the node around it. */
export interface ChannelContext {
  nowMs(): number;
  wallMs(): number;
  /** Sends a frame to all sessions that have joined the native topic: so many. */
  publishToTopic(topic: string, frame: Frame, readers: number): void;
  /** Ends the slowest clients where too much waits for all together; they leave their channels. */
  relieve(): void;
  /** The channel's batch is due then: `flushIfDue` has to be called. */
  scheduleFlush(channel: Channel, dueMs: number): void;
  /** The channel's cache has grown by so many characters; negative: it has shrunk. */
  cacheSizeChanged(change: number): void;
  /** The channel may have something to wait for: sweep it until it says "quiet" or "closed". */
  watch(channel: Channel): void;
}

/** What a sweep has found: a channel that is `quiet` needs no more of them. */
type Swept = "quiet" | "watched" | "closed";

const ENCODINGS: readonly Encoding[] = ["json", "msgpack"];

export class Channel implements ChannelPort, SubscribedChannel, ReadersContext {
  readonly name: string;
  /** Its name as JSON text. */
  readonly nameText: string;
  readonly route: Route;
  readonly cache: HistoryCache;
  isFollowed: boolean;
  readonly #uplink: Uplink;
  readonly #opening: Opening;
  readonly #context: ChannelContext;
  readonly #batcher: Batcher;
  readonly #readers: Readers;
  readonly #historyRequests: HistoryRequests;
  /** Undefined where presence is off. */
  readonly #presence: Presence | undefined;
  #usedAtMs: number;

  /** `isFollowed`: it will have readers; else it is only published to until it has one. */
  constructor(
    name: string,
    route: Route,
    uplink: Uplink,
    context: ChannelContext,
    isFollowed: boolean,
  ) {
    this.name = name;
    this.nameText = JSON.stringify(name);
    this.route = route;
    this.isFollowed = isFollowed;
    this.#uplink = uplink;
    this.#context = context;
    this.#usedAtMs = context.nowMs();
    this.cache = new HistoryCache(this.nameText, this.policy, (change) =>
      context.cacheSizeChanged(change),
    );
    this.#batcher = new Batcher(name, route.rule.batchMs);
    this.#readers = new Readers(this);
    this.#historyRequests = new HistoryRequests((question, onPage) =>
      this.requestHistory(question, onPage),
    );
    this.#presence = this.presence ? new Presence(name, this.#usedAtMs) : undefined;
    this.#opening = uplink.openChannel(this);
    context.watch(this);
  }

  get policy(): Policy {
    return this.route.rule.policy;
  }

  get presence(): boolean {
    return this.route.rule.presence;
  }

  get position(): Position | null {
    return this.cache.position;
  }

  /** The lineage that an acknowledged offset belongs to. */
  get epoch(): string {
    return this.cache.epoch;
  }

  wallMs(): number {
    return this.#context.wallMs();
  }

  // For sessions and the app.

  subscribe(subscription: Subscription): void {
    this.#follow();
    this.#readers.start(subscription);
  }

  /**
   * Ends a subscription. If it still waits for its `ok`, the client is told that it has ended.
   * `isResubscribing`: its client subscribes again in this turn, so that it stays present.
   */
  unsubscribe(subscription: Subscription, isResubscribing = false): void {
    const { requestId, subscriber } = subscription;
    const ended = this.#endSubscription(subscription, isResubscribing);
    if (ended.name === "waiting" && !ended.hasOk && requestId !== undefined)
      subscriber.sendError(requestId, "not_subscribed");
  }

  /** The subscription's client has read what it was sent. */
  clientDrained(subscription: Subscription): void {
    this.#readers.clientDrained(subscription);
  }

  /** The session gets what is published, without a subscription. */
  addListener(session: Pick<Subscriber, "encoding" | "joinTopic">): void {
    this.#follow();
    this.#flush();
    this.#batcher.addReader(session);
  }

  removeListener(session: Pick<Subscriber, "encoding" | "leaveTopic">): void {
    this.#used();
    this.#flush();
    this.#batcher.removeReader(session);
  }

  /** Answers a client's question about history. */
  readHistory(question: Question, onHistory: OnHistory, deadlineMs: number): void {
    this.#context.watch(this);
    this.#historyRequests.add(question, onHistory, deadlineMs);
  }

  /** Gives the list of those who are present. Only where presence is on. */
  listMembers(onMembers: OnMembers, deadlineMs: number): void {
    this.#context.watch(this);
    this.#presence?.listMembers(onMembers, deadlineMs);
  }

  /** Publishes. `identity`: see Uplink. False: the relay is behind, or away for too long. */
  publish(identity: Identity | undefined, payload: Uint8Array, publisher: Publisher): boolean {
    this.#usedAtMs = this.#context.nowMs();
    return this.#uplink.publish(this.#opening, identity, payload, this.#usedAtMs, publisher);
  }

  // For the schedule of all channels.

  /** Sends the batch if it is due. Returns when it will be; undefined: nothing is queued. */
  flushIfDue(nowMs: number): number | undefined {
    if (this.#batcher.isDue(nowMs)) this.#flush();
    return this.#batcher.dueMs;
  }

  /** Frees half of its cache. */
  shrinkCache(): void {
    this.cache.shrink();
  }

  /** About once a second, while it is watched. Closes it after `unusedMs` without use. */
  sweep(nowMs: number, unusedMs: number): Swept {
    this.#failOverdue(nowMs);
    this.#readers.retry();
    this.#historyRequests.expire(nowMs);
    this.#historyRequests.retry();
    for (const event of this.#presence?.expire(nowMs) ?? []) this.#sendToAll(event);
    for (const { client, info } of this.#presence?.settleOwn(nowMs) ?? [])
      if (info === undefined) this.#uplink.leaveMember(this.#opening, client);
      else this.#uplink.enterMember(this.#opening, client, info);
    const waits =
      this.#readers.catchingUp > 0 ||
      this.#historyRequests.size > 0 ||
      this.#presence?.isWaiting === true;
    if (waits) return "watched";
    if (this.#batcher.readerCount > 0) return "quiet";
    if (nowMs - this.#usedAtMs < unusedMs || !this.#uplink.closeChannel(this.#opening))
      return "watched";
    this.cache.close();
    return "closed";
  }

  // For its readers.

  requestHistory(question: Question, onPage: OnPage): boolean {
    return this.#uplink.requestHistory(this.#opening, question, onPage);
  }

  /** A client has its `ok`: it is present. */
  readerAccepted({ id, infoBytes }: Pick<Subscriber, "id" | "infoBytes">): void {
    if (this.#presence === undefined) return;
    this.#context.watch(this);
    if (this.#presence.addOwn(id, infoBytes, this.#context.nowMs()))
      this.#uplink.enterMember(this.#opening, id, infoBytes);
  }

  readerIsLive(subscriber: Subscriber): void {
    this.#flush();
    this.#batcher.addReader(subscriber);
  }

  // For the uplink.

  channelOpened({ epoch, top, gap, members }: RelayMessageOf<"opened">): void {
    if (this.#opening.asked !== "open_followed") {
      this.cache.epoch = epoch;
      return;
    }
    this.#context.watch(this);
    if (this.cache.position === null) {
      this.cache.restart({ epoch, offset: top });
    } else if (gap !== null) {
      const position = { epoch, offset: gap.to };
      this.cache.restart(position);
      this.#fanOut(encodeNodeMessage({ type: "gap", channel: this.name, ...gap, position }));
    }
    const own = this.#presence?.channelOpened(members, this.#context.nowMs()) ?? [];
    for (const [client, info] of own) this.#uplink.enterMember(this.#opening, client, info);
    this.#readers.retry();
    this.#historyRequests.retry();
  }

  openRefused(): void {
    this.#failOverdue(Number.POSITIVE_INFINITY);
    this.#historyRequests.expire(Number.POSITIVE_INFINITY);
  }

  publicationArrived(offset: number, timeMs: number, payload: string): void {
    const json = this.cache.append(offset, timeMs, payload);
    if (json === undefined) return;
    this.#fanOut(json);
    this.#context.relieve();
  }

  memberEntered(client: string, info: Uint8Array): void {
    const event = this.#presence?.memberEntered(client, info);
    if (event === undefined) return;
    this.#sendToAll(event);
    this.#context.relieve();
  }

  memberLeft(client: string): void {
    const event = this.#presence?.memberLeft(client);
    if (event === undefined) return;
    this.#sendToAll(event);
    this.#context.relieve();
  }

  #used(): void {
    this.#usedAtMs = this.#context.nowMs();
    this.#context.watch(this);
  }

  #follow(): void {
    this.#used();
    if (this.isFollowed) return;
    this.isFollowed = true;
    this.#uplink.followChannel(this.#opening);
  }

  #endSubscription(subscription: Subscription, isResubscribing: boolean) {
    const { subscriber } = subscription;
    if (subscription.state.name === "ended") return subscription.state;
    this.#used();
    const ended = this.#readers.end(subscription);
    if (ended.name === "live") {
      this.#flush();
      this.#batcher.removeReader(subscriber);
    }
    if (!isResubscribing && this.#presence?.removeOwn(subscriber.id, this.#context.nowMs()))
      this.#uplink.leaveMember(this.#opening, subscriber.id);
    return ended;
  }

  #failOverdue(nowMs: number): void {
    for (const subscription of this.#readers.overdue(nowMs)) {
      const { subscriber, requestId } = subscription;
      if (this.#endSubscription(subscription, false).name === "ended") continue;
      subscriber.sendError(requestId, "busy");
      subscriber.subscriptionFailed(this.name, subscription);
    }
  }

  /** Live readers get it natively; those that still catch up, one by one. */
  #sendToAll(event: string): void {
    this.#fanOut(event);
    this.#readers.sendToCatchingUp(event);
  }

  /** Sends to the live readers, now or with the next batch. */
  #fanOut(json: string): void {
    this.#batcher.queueMessage(json);
    const dueMs = this.flushIfDue(this.#context.nowMs());
    if (dueMs !== undefined) this.#context.scheduleFlush(this, dueMs);
  }

  #flush(): void {
    const { topics, readers } = this.#batcher;
    for (const json of this.#batcher.takeBatch(this.#context.nowMs()))
      for (const encoding of ENCODINGS)
        if (readers[encoding] > 0)
          this.#context.publishToTopic(
            topics[encoding],
            frameOf(encoding, json),
            readers[encoding],
          );
  }
}
