// All channels that this client reads, and the questions that are open about them. Pure.

import type { NodeMessage, NodeMessageOf } from "../wire/client-messages.ts";
import type { Position } from "../wire/position.ts";
import type { Fault } from "./error.ts";
import type { ChannelEvent, Emit } from "./steps.ts";
import { type Start, Subscription } from "./subscription.ts";

type ChannelFrame = Extract<NodeMessage, { type: "gap" | "join" | "leave" }>;

export class Subscriptions {
  readonly #emit: Emit;
  readonly #byChannel = new Map<string, Subscription>();
  #lastAsk = 0;

  constructor(emit: Emit) {
    this.#emit = emit;
  }

  positionOf(channel: string): Position | undefined {
    return this.#byChannel.get(channel)?.position;
  }

  /** Without a start, a subscription that stands already is left where it stands. */
  subscribe(ticket: number, channel: string, start: Start | undefined): void {
    const known = this.#byChannel.get(channel);
    const subscription = known ?? new Subscription(channel, start ?? {});
    if (known === undefined) this.#byChannel.set(channel, subscription);
    else if (start !== undefined) known.restart(start);
    const { isLive, position } = subscription;
    if (isLive && position)
      this.#emit({ type: "subscribed", ticket, subscribed: { position, recovered: true } });
    else subscription.tickets.push(ticket);
  }

  /** False when there is no such subscription. */
  unsubscribe(channel: string, fault: Fault): boolean {
    const subscription = this.#byChannel.get(channel);
    if (subscription === undefined) return false;
    this.#byChannel.delete(channel);
    for (const ticket of subscription.tickets) this.#emit({ type: "failed", ticket, fault });
    this.#emitChannelEvent(channel, { type: "ended", fault });
    return true;
  }

  pause(channel: string): void {
    this.#byChannel.get(channel)?.pause();
  }

  resume(channel: string): void {
    this.#byChannel.get(channel)?.resume();
  }

  sendSubscribes(now: number): void {
    for (const subscription of this.#byChannel.values()) {
      if (!subscription.isDue(now)) continue;
      this.#emit({ type: "send", text: subscription.subscribeFrame(++this.#lastAsk) });
    }
  }

  /** False when the reply is not what a subscribe is answered with. */
  subscribeAccepted(ask: number, ok: NodeMessageOf<"ok">): boolean {
    const subscription = this.#awaitingReply(ask);
    if (subscription === undefined || subscription.isLive) return true;
    const subscribed = subscription.subscribeAccepted(ok);
    if (subscribed === undefined) return false;
    const { channel } = subscription;
    const { gap, position } = subscribed;
    if (gap !== undefined) this.#emitChannelEvent(channel, { type: "gap", gap, position });
    this.#emitChannelEvent(channel, { type: "subscribed", subscribed });
    for (const ticket of subscription.tickets.splice(0))
      this.#emit({ type: "subscribed", ticket, subscribed });
    return true;
  }

  /** The node says no, or that it cannot go on with what it had said yes to. */
  subscribeRefused(ask: number, fault: Fault, now: number, random: number): void {
    const subscription = this.#awaitingReply(ask);
    if (subscription === undefined) return;
    if (fault.retry) subscription.postpone(now, random);
    else this.unsubscribe(subscription.channel, fault);
  }

  messageArrived(
    { channel, offset, time, data }: NodeMessageOf<"message">,
    characters: number,
  ): void {
    const epoch = this.#byChannel.get(channel)?.acceptMessage(offset);
    if (epoch !== undefined)
      this.#emitChannelEvent(channel, { type: "message", epoch, offset, time, data, characters });
  }

  channelEventArrived(message: ChannelFrame): void {
    const { channel } = message;
    const subscription = this.#byChannel.get(channel);
    if (subscription === undefined) return;
    if (message.type === "gap") {
      const { reason, from, to, position } = message;
      if (subscription.skipGap(position))
        this.#emitChannelEvent(channel, { type: "gap", gap: { reason, from, to }, position });
    } else {
      this.#emitChannelEvent(channel, {
        type: message.type,
        client: message.client,
        info: message.info,
      });
    }
  }

  connectionLost(): void {
    for (const subscription of this.#byChannel.values()) subscription.connectionLost();
  }

  wakeAt(now: number): number {
    let at = Number.POSITIVE_INFINITY;
    for (const subscription of this.#byChannel.values())
      at = Math.min(at, subscription.wakeAt(now));
    return at;
  }

  endAll(fault: Fault): void {
    for (const channel of this.#byChannel.keys()) this.unsubscribe(channel, fault);
  }

  #emitChannelEvent(channel: string, event: ChannelEvent): void {
    this.#emit({ type: "tell_channel", channel, event });
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
