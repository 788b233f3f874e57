// The readers of one channel in this node: those who are live, and those on their way there, who
// are given what they have missed and then join, in one turn. Decides when the relay has to be
// asked. Pure.

import { type Gap, type Position, resume } from "../../wire/position.ts";
import type { OnPage, Page, Question } from "../uplink/broker.ts";
import type { Batcher } from "./batcher.ts";
import type { Stream } from "./stream.ts";
import type { Subscriber } from "./subscriber.ts";
import type { Subscription } from "./subscription.ts";

/** More than a page can carry: its bytes are what limits it. */
const PAGE_LIMIT = 10_000;

export class Readers {
  readonly #audience: Batcher;
  readonly #stream: Stream;
  readonly #nowMs: () => number;
  /** Asks the relay; false: not now. */
  readonly #askRelay: (question: Question, onPage: OnPage) => boolean;
  readonly #release: () => void;
  /** Those that wait for the relay. */
  readonly #waiting = new Set<Subscription>();
  /** Those whose clients have to read what they were sent before they get more. */
  readonly #behind = new Set<Subscription>();
  /** What the relay has been asked on behalf of those that wait. */
  #question: Question | undefined;

  /** `audience`: those who are live. `release`: tells them what waits. */
  constructor(
    audience: Batcher,
    stream: Stream,
    nowMs: () => number,
    askRelay: (question: Question, onPage: OnPage) => boolean,
    release: () => void,
  ) {
    this.#audience = audience;
    this.#stream = stream;
    this.#nowMs = nowMs;
    this.#askRelay = askRelay;
    this.#release = release;
  }

  get isEmpty(): boolean {
    return this.#audience.size + this.#waiting.size + this.#behind.size === 0;
  }

  /** Whether anyone is not live yet. */
  get areWaiting(): boolean {
    return this.#waiting.size + this.#behind.size > 0;
  }

  /** Takes a subscription up: at once where memory allows, else when the relay has answered. */
  serve(subscription: Subscription): void {
    const offset = this.#stream.find(subscription.want, this.#nowMs());
    if (offset !== undefined)
      return this.#begin(subscription, { epoch: this.#stream.epoch, offset }, null);
    subscription.stage = "waiting";
    this.#waiting.add(subscription);
    this.#ask();
  }

  /** The client has read what it was sent. */
  drained(subscription: Subscription): void {
    if (this.#behind.delete(subscription)) this.serve(subscription);
  }

  remove(subscription: Subscription): void {
    this.#waiting.delete(subscription);
    this.#behind.delete(subscription);
    if (subscription.stage === "live") this.leave(subscription.session);
    subscription.stage = "ended";
  }

  /** The session gets everything from here on. */
  join(session: Pick<Subscriber, "encoding" | "join">): void {
    this.#release();
    this.#audience.join(session);
  }

  leave(session: Pick<Subscriber, "encoding" | "leave">): void {
    this.#release();
    this.#audience.leave(session);
  }

  /** Sends a frame to those who have their `ok` but are not live yet. */
  tellCatchingUp(json: string): void {
    for (const { isBegun, session } of [...this.#waiting, ...this.#behind])
      if (isBegun) session.send(json);
  }

  /** The channel is open (again), or a question may be asked that could not be before. */
  retry(): void {
    if (this.#waiting.size === 0) return;
    for (const subscription of [...this.#waiting]) this.serve(subscription);
  }

  /** Ends those that have waited for their `ok` since before their deadline. */
  expire(nowMs: number): void {
    if (this.#waiting.size === 0) return;
    for (const subscription of [...this.#waiting])
      if (!subscription.isBegun && subscription.deadlineMs < nowMs) subscription.fail("busy");
  }

  /**
   * In one turn: says where the subscription stands, sends what it has missed, and makes it live.
   */
  #begin(subscription: Subscription, position: Position, gap: Gap | null): void {
    this.#waiting.delete(subscription);
    subscription.isAsked = false;
    const { session } = subscription;
    session.gather(() => {
      subscription.stand(position, gap);
      let hasRoom = true;
      const offset = this.#stream.read(position.offset, (json) => {
        session.sendAsked(json);
        hasRoom = session.hasRoom;
        return hasRoom;
      });
      if (subscription.stage === "ended") return;
      subscription.want = { epoch: position.epoch, offset };
      if (offset >= this.#stream.top) {
        subscription.stage = "live";
        this.join(session);
      } else if (hasRoom) {
        this.serve(subscription);
      } else {
        subscription.stage = "behind";
        this.#behind.add(subscription);
      }
    });
  }

  /**
   * Asks the relay on behalf of all that wait: from the lowest position, or for the most that
   * anyone wants.
   */
  #ask(): void {
    if (this.#question !== undefined || this.#waiting.size === 0) return;
    const question = questionFor(this.#waiting, this.#stream.epoch);
    if (!this.#askRelay(question, (page) => this.#answered(question, page))) return;
    this.#question = question;
    for (const subscription of this.#waiting)
      subscription.isAsked = question.reverse === (typeof subscription.want === "number");
  }

  /**
   * Those who waited when the question was asked are answered; who came later may find that memory
   * now has what they want.
   */
  #answered(question: Question, page: Page | undefined): void {
    const waiting = [...this.#waiting];
    if (page === undefined) {
      for (const subscription of waiting) subscription.isAsked = false;
      this.#question = undefined;
      return;
    }
    const run = this.#stream.keep(question, page);
    const { readable } = page;
    for (const subscription of waiting) {
      const { want, isAsked } = subscription;
      if (!isAsked) {
        this.serve(subscription);
      } else if (typeof want === "number") {
        const offset = want < run.count ? run.offsetAt(run.count - want) - 1 : run.after;
        this.#begin(subscription, { epoch: readable.epoch, offset }, null);
      } else {
        const { after, gap } = resume(want, readable);
        this.#begin(subscription, { epoch: readable.epoch, offset: after }, gap);
      }
    }
    this.#question = undefined;
    this.#ask();
  }
}

function questionFor(waiting: Iterable<Subscription>, epoch: string): Question {
  let newest = 0;
  let other: Position | undefined;
  let lowest: Position | undefined;
  for (const { want } of waiting) {
    if (typeof want === "number") newest = Math.max(newest, want);
    else if (want.epoch !== epoch) other = want;
    else if (lowest === undefined || want.offset < lowest.offset) lowest = want;
  }
  const since = lowest ?? other ?? null;
  return since === null
    ? { since, limit: newest, reverse: true }
    : { since, limit: PAGE_LIMIT, reverse: false };
}
