// One session's subscription to one channel: where it stands between being asked for and being
// live, and what its client is told. Pure.

import type { RequestId } from "../../wire/client-messages.ts";
import type { ErrorCode } from "../../wire/codes.ts";
import type { Gap, Position } from "../../wire/position.ts";
import type { Want } from "./stream.ts";
import type { Subscriber } from "./subscriber.ts";

/**
 * `waiting`: for the relay. `behind`: for the client to read what it was sent. `live`: it gets what
 * is published, natively.
 * `ended`: it gets nothing any more.
 */
export type Stage = "waiting" | "behind" | "live" | "ended";

/** A channel, as its subscriptions see it. */
export interface Subscribed {
  readonly name: string;
  /** A subscription has its `ok`: its client is present. */
  attend(session: Subscriber): void;
  /**
   * Ends a subscription. Where its session takes it up again at once, `isStaying`: presence need
   * not see it go.
   */
  unsubscribe(subscription: Subscription, isStaying?: boolean): void;
  /** The subscription's client has read what it was sent. */
  drained(subscription: Subscription): void;
}

export class Subscription {
  readonly session: Subscriber;
  readonly channel: Subscribed;
  readonly #requestId: RequestId | undefined;
  readonly deadlineMs: number;
  want: Want;
  stage: Stage = "waiting";
  /** Its client has its `ok`: from then on the position only moves forward, or a `gap` says why. */
  isBegun = false;
  /**
   * The question that is open was asked after this one came: its answer may say that something is
   * out of reach.
   */
  isAsked = false;

  /** `deadlineMs`: when to give up waiting for a relay. */
  constructor(
    session: Subscriber,
    channel: Subscribed,
    requestId: RequestId | undefined,
    want: Want,
    deadlineMs: number,
  ) {
    this.session = session;
    this.channel = channel;
    this.#requestId = requestId;
    this.want = want;
    this.deadlineMs = deadlineMs;
  }

  /** Tells the client where it stands. `gap`: what it can never be given. */
  stand(position: Position, gap: Gap | null): void {
    this.want = position;
    const { name: channel } = this.channel;
    if (this.isBegun) {
      if (gap !== null) this.session.send(gapText(channel, position, gap));
      return;
    }
    this.isBegun = true;
    const id = this.#requestId;
    const lost = gap === null ? {} : { gap };
    this.session.send(
      JSON.stringify({ type: "ok", id, channel, position, recovered: gap === null, ...lost }),
    );
    this.channel.attend(this.session);
  }

  /** Ends it with an error. */
  fail(code: ErrorCode): void {
    if (this.stage === "ended") return;
    this.channel.unsubscribe(this);
    this.session.sendError(this.#requestId, code);
    this.session.dropped(this.channel.name, this);
  }

  /**
   * Ends it because the client has asked for something else, or is gone. If it still waits for an
   * answer, that is the answer.
   * `isStaying`: the client subscribes again in this very turn.
   */
  cancel(isStaying = false): void {
    if (this.stage === "ended") return;
    this.channel.unsubscribe(this, isStaying);
    if (!this.isBegun && this.#requestId !== undefined)
      this.session.sendError(this.#requestId, "not_subscribed");
  }
}

export function gapText(channel: string, position: Position, { reason, from, to }: Gap): string {
  return JSON.stringify({ type: "gap", channel, reason, from, to, position });
}
