// All channels that this client reads, their readers, and the questions that are open about them.
// Pure.

import type { NodeMessage, NodeMessageOf } from "../wire/client-messages.ts";
import type { Position } from "../wire/position.ts";
import type { Fault } from "./error.ts";
import type { Reader, Start } from "./reader.ts";
import type { ChannelEvent, Emit } from "./steps.ts";
import { type ReaderNews, Subscription } from "./subscription.ts";

type ChannelFrame = Extract<NodeMessage, { type: "gap" | "join" | "leave" }>;

export class Subscriptions {
  readonly #emit: Emit;
  readonly #byChannel = new Map<string, Subscription>();
  readonly #byReader = new Map<number, Subscription>();
  #lastAsk = 0;

  constructor(emit: Emit) {
    this.#emit = emit;
  }

  positionOf(reader: number): Position | undefined {
    return this.#byReader.get(reader)?.readers.get(reader)?.position;
  }

  /** Without a start, a reader that stands already is left where it stands. */
  subscribe(ticket: number, id: number, channel: string, start: Start | undefined): void {
    const subscription =
      this.#byChannel.get(channel) ??
      new Subscription(channel, (reader, news) => this.#tellNews(reader, news));
    this.#byChannel.set(channel, subscription);
    this.#byReader.set(id, subscription);
    const reader = subscription.addReader(id, start);
    const { position, isStanding } = reader;
    if (isStanding && position !== undefined)
      this.#emit({ type: "subscribed", ticket, subscribed: { position, recovered: true } });
    else reader.tickets.push(ticket);
  }

  /** The channel, where nobody reads it any more. */
  unsubscribe(id: number, fault: Fault): string | undefined {
    const subscription = this.#byReader.get(id);
    const reader = subscription?.readers.get(id);
    if (subscription === undefined || reader === undefined) return undefined;
    this.#endReader(subscription, reader, fault);
    return subscription.readers.size === 0 ? subscription.channel : undefined;
  }

  pause(reader: number): void {
    this.#byReader.get(reader)?.pause(reader);
  }

  resume(reader: number): void {
    this.#byReader.get(reader)?.resume(reader);
  }

  sendSubscribes(now: number): void {
    for (const subscription of this.#byChannel.values()) {
      if (!subscription.isDue(now)) continue;
      this.#emit({ type: "send", text: subscription.subscribeFrame(++this.#lastAsk) });
    }
  }

  /** False when the reply is not what a subscribe is answered with. */
  subscribeAccepted(ask: number, ok: NodeMessageOf<"ok">): boolean {
    return this.#awaitingReply(ask)?.subscribeAccepted(ok) ?? true;
  }

  /**
   * The node says no, or that it cannot go on with what it had said yes to. What may pass is asked
   * again, later each time; that the app has failed is told.
   */
  subscribeRefused(ask: number, fault: Fault, now: number, random: number): void {
    const subscription = this.#awaitingReply(ask);
    if (subscription === undefined) return;
    subscription.streamLost();
    const isAppFailure = fault.code === "internal";
    if (!fault.retry && !isAppFailure) return this.#endAllOf(subscription, fault);
    subscription.postpone(now, random);
    if (!isAppFailure) return undefined;
    const { channel } = subscription;
    const message = `The subscription to "${channel}" is tried again: ${fault.message}`;
    this.#emit({ type: "tell", event: { type: "error", fault: { ...fault, message } } });
    return undefined;
  }

  messageArrived(
    { channel, offset, time, data }: NodeMessageOf<"message">,
    characters: number,
  ): void {
    const subscription = this.#byChannel.get(channel);
    const stream = subscription?.acceptMessage(offset);
    if (subscription === undefined || stream === undefined) return;
    const { epoch } = stream;
    const event: ChannelEvent = { type: "message", epoch, offset, time, data, characters };
    for (const reader of subscription.readers.values())
      if (reader.acceptMessage(stream, offset)) this.#tell(reader, event);
  }

  channelEventArrived(message: ChannelFrame): void {
    const subscription = this.#byChannel.get(message.channel);
    if (subscription === undefined) return;
    if (message.type === "gap") {
      const { reason, from, to, position } = message;
      return subscription.gapArrived({ reason, from, to }, position);
    }
    const { type, client, info } = message;
    for (const reader of subscription.readers.values()) this.#tell(reader, { type, client, info });
  }

  connectionLost(): void {
    for (const subscription of this.#byChannel.values()) subscription.streamLost();
  }

  wakeAt(now: number): number {
    let at = Number.POSITIVE_INFINITY;
    for (const subscription of this.#byChannel.values())
      at = Math.min(at, subscription.wakeAt(now));
    return at;
  }

  endAll(fault: Fault): void {
    for (const subscription of this.#byChannel.values()) this.#endAllOf(subscription, fault);
  }

  #endAllOf(subscription: Subscription, fault: Fault): void {
    for (const reader of subscription.readers.values())
      this.#endReader(subscription, reader, fault);
  }

  #endReader({ channel, readers }: Subscription, reader: Reader, fault: Fault): void {
    readers.delete(reader.id);
    this.#byReader.delete(reader.id);
    if (readers.size === 0) this.#byChannel.delete(channel);
    for (const ticket of reader.tickets) this.#emit({ type: "failed", ticket, fault });
    this.#tell(reader, { type: "ended", fault });
  }

  #tellNews(reader: Reader, news: ReaderNews): void {
    this.#tell(reader, news);
    if (news.type !== "subscribed") return;
    const { subscribed } = news;
    for (const ticket of reader.tickets.splice(0))
      this.#emit({ type: "subscribed", ticket, subscribed });
  }

  #tell({ id }: Reader, event: ChannelEvent): void {
    this.#emit({ type: "tell_reader", reader: id, event });
  }

  /**
   * The subscription that a reply is for, unless it has been asked for anew, or given up, since.
   */
  #awaitingReply(ask: number): Subscription | undefined {
    for (const subscription of this.#byChannel.values())
      if (subscription.isLatestSubscribe(ask)) return subscription;
    return undefined;
  }
}
