// One channel that this client reads: where it stands, which frames move it forward, and how it
// goes on after a lost connection. Pure.

import type { NodeMessageOf } from "../wire/client-messages.ts";
import type { Gap, Position } from "../wire/position.ts";
import { backoffMs } from "./backoff.ts";

/**
 * Where a subscription begins: after `since`, or `last` publications back, or (with neither) at
 * what comes next.
 */
export type Start = { readonly since?: Position | undefined; readonly last?: number | undefined };

/**
 * How a node took a subscription up. `recovered`: nothing between `since` and here was out of
 * reach; else `gap` says what.
 */
export type Subscribed = {
  readonly position: Position;
  readonly recovered: boolean;
  readonly gap?: Gap;
};

/**
 * `wanted`: to be asked for on this or the next connection, not before `retryAt`. `asked`: the
 * reply is outstanding. `live`. Only `live` takes messages: in the other states what arrives is
 * ignored, because it comes again after the reply.
 */
type State =
  | { readonly is: "wanted"; readonly retryAt: number }
  | { readonly is: "asked"; readonly ask: number }
  | { readonly is: "live"; readonly ask: number };
const WANTED: State = { is: "wanted", retryAt: 0 };

export class Subscription {
  readonly channel: string;
  /** Those who wait for the subscription to stand. */
  readonly tickets: number[] = [];
  #start: Start;
  #state: State = WANTED;
  #position: Position | undefined;
  #attempt = 0;
  #isPaused = false;

  constructor(channel: string, start: Start) {
    this.channel = channel;
    this.#start = start;
  }

  /** The last publication that was handed on; undefined until a node has said where we stand. */
  get position(): Position | undefined {
    return this.#position;
  }

  /** Messages flow, from the position on. */
  get isLive(): boolean {
    return this.#state.is === "live";
  }

  /** Begins anew from `start`, whatever was read before. */
  restart(start: Start): void {
    this.#start = start;
    this.#position = undefined;
    this.#state = WANTED;
  }

  isDue(now: number): boolean {
    return this.#state.is === "wanted" && !this.#isPaused && this.#state.retryAt <= now;
  }

  /** When it is due, if that is later than `now`. */
  wakeAt(now: number): number {
    const state = this.#state;
    const isLater = state.is === "wanted" && !this.#isPaused && state.retryAt > now;
    return isLater ? state.retryAt : Number.POSITIVE_INFINITY;
  }

  /** The frame that asks for this channel from where we stand; `ask` numbers the question. */
  subscribeFrame(ask: number): string {
    this.#state = { is: "asked", ask };
    const since = this.#position ?? this.#start.since;
    const from = since
      ? { since: { epoch: since.epoch, offset: since.offset } }
      : { last: this.#start.last };
    return JSON.stringify({ type: "subscribe", id: `s${ask}`, channel: this.channel, ...from });
  }

  /** Whether this is the latest question: answers to older ones say nothing any more. */
  isLatestSubscribe(ask: number): boolean {
    return this.#state.is !== "wanted" && this.#state.ask === ask;
  }

  /**
   * Takes the node's reply. Undefined where it lacks a position: a subscribe is never answered
   * without.
   */
  subscribeAccepted({
    position,
    recovered = true,
    gap,
  }: NodeMessageOf<"ok">): Subscribed | undefined {
    if (position === undefined || this.#state.is !== "asked") return undefined;
    const before = this.#position ?? this.#start.since;
    this.#position = position;
    this.#state = { is: "live", ask: this.#state.ask };
    this.#attempt = 0;
    if (recovered && gap === undefined) return { position, recovered };
    const lost: Gap = gap ?? {
      reason: "epoch",
      from: (before?.offset ?? 0) + 1,
      to: position.offset,
    };
    return { position, recovered: false, gap: lost };
  }

  /** The node cannot take it now: it is asked again later. */
  postpone(now: number, random: number): void {
    this.#state = { is: "wanted", retryAt: now + backoffMs(++this.#attempt, random) };
  }

  /**
   * Moves to `offset` and returns the epoch; undefined when the publication is not to be taken:
   * seen, or to come again.
   */
  acceptMessage(offset: number): string | undefined {
    if (this.#state.is !== "live" || this.#isPaused || this.#position === undefined)
      return undefined;
    if (offset <= this.#position.offset) return undefined;
    const { epoch } = this.#position;
    this.#position = { epoch, offset };
    return epoch;
  }

  /**
   * Moves over what the node says is out of reach. False when that is about an earlier state of
   * ours.
   */
  skipGap(position: Position): boolean {
    if (this.#state.is !== "live" || this.#isPaused) return false;
    this.#position = position;
    return true;
  }

  /**
   * Takes no more, without losing the place: what arrives from here on is read again after
   * `resume`.
   */
  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    if (this.#state.is === "live") this.#state = WANTED;
  }

  connectionLost(): void {
    if (this.#state.is !== "wanted") this.#state = WANTED;
  }
}
