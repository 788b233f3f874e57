// One channel as a node has it open: its place on the relay, its stream, its readers, who is
// present. Pure.

import type { Position } from "../../wire/position.ts";
import type { Policy, RelayMessageOf } from "../../wire/relay-messages.ts";
import type { Route } from "../app/rules.ts";
import type { ChannelPort, Identity, OnPage, Opening, Question } from "../uplink/broker.ts";
import type { Publisher } from "../uplink/outbox.ts";
import type { Uplink } from "../uplink/uplink.ts";
import { Batcher } from "./batcher.ts";
import { Lookups, type OnLookup } from "./lookups.ts";
import { type OnList, Presence } from "./presence.ts";
import { Readers } from "./readers.ts";
import { Stream } from "./stream.ts";
import type { Subscriber } from "./subscriber.ts";
import { gapText, type Subscribed, type Subscription } from "./subscription.ts";

/** What a channel needs of the node around it. */
export interface Outlet {
  nowMs(): number;
  /** Tells the audience, now or soon. */
  fanOut(audience: Batcher, json: string): void;
  /** Tells the audience what waits for it, now. */
  release(audience: Batcher): void;
  /** So many characters of frames more are remembered; negative: fewer. */
  remembered(change: number): void;
  /**
   * The channel may have something to wait for: it is to be swept until it says that all is quiet.
   */
  watch(channel: Channel): void;
}

/** What a sweep has found: a channel that is `quiet` needs no more of them. */
type Swept = "quiet" | "watched" | "closed";

export class Channel implements ChannelPort, Subscribed {
  readonly name: string;
  /** Its name as JSON text, for frames that are put together by hand. */
  readonly nameText: string;
  readonly route: Route;
  isFollowed: boolean;
  readonly #uplink: Uplink;
  readonly #opening: Opening;
  readonly #outlet: Outlet;
  readonly #stream: Stream;
  readonly #audience: Batcher;
  readonly #readers: Readers;
  readonly #lookups: Lookups;
  /** Undefined where presence is off. */
  readonly #attendance: Presence | undefined;
  #usedAtMs: number;

  /**
   * `isFollowed`: it has readers to come; else it is only published to, until `subscribe` or `join`
   * says otherwise.
   */
  constructor(name: string, route: Route, uplink: Uplink, outlet: Outlet, isFollowed: boolean) {
    const ask = (question: Question, onPage: OnPage) => uplink.ask(this.#opening, question, onPage);
    this.name = name;
    this.nameText = JSON.stringify(name);
    this.route = route;
    this.isFollowed = isFollowed;
    this.#uplink = uplink;
    this.#outlet = outlet;
    this.#usedAtMs = outlet.nowMs();
    this.#stream = new Stream(name, this.policy, (change) => outlet.remembered(change));
    this.#audience = new Batcher(name, route.rule.batchMs);
    this.#readers = new Readers(
      this.#audience,
      this.#stream,
      () => outlet.nowMs(),
      ask,
      () => outlet.release(this.#audience),
    );
    this.#lookups = new Lookups(ask);
    this.#attendance = this.presence ? new Presence(name) : undefined;
    this.#opening = uplink.open(this);
    outlet.watch(this);
  }

  get policy(): Policy {
    return this.route.rule.policy;
  }

  get presence(): boolean {
    return this.route.rule.presence;
  }

  get position(): Position | null {
    return this.#stream.position;
  }

  /** The lineage that an acknowledged offset belongs to. */
  get epoch(): string {
    return this.#stream.epoch;
  }

  subscribe(subscription: Subscription): void {
    this.#follow();
    this.#readers.serve(subscription);
  }

  /**
   * Ends a subscription. Where its session takes it up again at once, `isStaying`: presence need
   * not see it go.
   */
  unsubscribe(subscription: Subscription, isStaying = false): void {
    this.#used();
    this.#readers.remove(subscription);
    const { id } = subscription.session;
    if (!isStaying && this.#attendance?.depart(id)) this.#uplink.leave(this.#opening, id);
  }

  /** The subscription's client has read what it was sent. */
  drained(subscription: Subscription): void {
    this.#readers.drained(subscription);
  }

  /** The session hears this channel without a subscription. */
  join(session: Pick<Subscriber, "encoding" | "join">): void {
    this.#follow();
    this.#readers.join(session);
  }

  leave(session: Pick<Subscriber, "encoding" | "leave">): void {
    this.#used();
    this.#readers.leave(session);
  }

  /** Answers a question about its history. */
  lookUp(question: Question, onLookup: OnLookup, deadlineMs: number): void {
    this.#outlet.watch(this);
    this.#lookups.add(question, onLookup, deadlineMs);
  }

  /** Tells who is present. Only where presence is on. */
  list(onList: OnList, deadlineMs: number): void {
    this.#outlet.watch(this);
    this.#attendance?.ask(onList, deadlineMs);
  }

  /** A subscription has its `ok`: its client is present. */
  attend({ id, infoBytes }: Pick<Subscriber, "id" | "infoBytes">): void {
    if (this.#attendance?.attend(id, infoBytes)) this.#uplink.enter(this.#opening, id, infoBytes);
  }

  /** Publishes. `identity`: see Uplink. False: the relay is behind, or away for too long. */
  publish(identity: Identity | undefined, payload: Uint8Array, publisher: Publisher): boolean {
    this.#usedAtMs = this.#outlet.nowMs();
    return this.#uplink.publish(this.#opening, identity, payload, this.#usedAtMs, publisher);
  }

  /** Gives back half of the room that its memory takes. */
  shrink(): void {
    this.#stream.shrink();
  }

  /**
   * About once a second, while it is watched. Closes a channel that nobody had a use for in
   * `unusedMs`.
   */
  sweep(nowMs: number, unusedMs: number): Swept {
    this.#readers.expire(nowMs);
    this.#readers.retry();
    this.#lookups.expire(nowMs);
    this.#lookups.retry();
    for (const event of this.#attendance?.expire(nowMs) ?? []) this.#tell(event);
    const waits =
      this.#readers.areWaiting || this.#lookups.size > 0 || this.#attendance?.isWaiting === true;
    if (!this.#readers.isEmpty) return waits ? "watched" : "quiet";
    if (waits || nowMs - this.#usedAtMs < unusedMs || !this.#uplink.close(this.#opening))
      return "watched";
    this.#stream.end();
    return "closed";
  }

  opened({ epoch, top, gap, members }: RelayMessageOf<"opened">): void {
    if (this.#opening.asked !== "open_followed") {
      this.#stream.epoch = epoch;
      return;
    }
    this.#outlet.watch(this);
    if (this.#stream.position === null) {
      this.#stream.restart({ epoch, offset: top });
    } else if (gap !== null) {
      const position = { epoch, offset: gap.to };
      this.#stream.restart(position);
      this.#outlet.fanOut(this.#audience, gapText(this.name, position, gap));
    }
    this.#attendance?.opened(members, this.#outlet.nowMs());
    for (const [client, info] of this.#attendance?.own ?? [])
      this.#uplink.enter(this.#opening, client, info);
    this.#readers.retry();
    this.#lookups.retry();
  }

  openRefused(): void {
    this.#readers.expire(Number.POSITIVE_INFINITY);
    this.#lookups.expire(Number.POSITIVE_INFINITY);
  }

  publication(offset: number, timeMs: number, payload: string): void {
    const json = this.#stream.append(offset, timeMs, payload);
    if (json !== undefined) this.#outlet.fanOut(this.#audience, json);
  }

  entered(client: string, info: Uint8Array): void {
    const event = this.#attendance?.entered(client, info);
    if (event !== undefined) this.#tell(event);
  }

  left(client: string): void {
    const event = this.#attendance?.left(client);
    if (event !== undefined) this.#tell(event);
  }

  #used(): void {
    this.#usedAtMs = this.#outlet.nowMs();
    this.#outlet.watch(this);
  }

  #follow(): void {
    this.#used();
    if (this.isFollowed) return;
    this.isFollowed = true;
    this.#uplink.follow(this.#opening);
  }

  /** Live readers hear it natively; those who still catch up, one by one. */
  #tell(event: string): void {
    this.#outlet.fanOut(this.#audience, event);
    this.#readers.tellCatchingUp(event);
  }
}
