// One reader of a channel: where it stands, and what a node's answers mean for it. Pure.

import type { Gap, Position } from "../wire/position.ts";

/**
 * Where a subscription begins: after `since`, or `last` publications back (0 to 1000), or (with
 * neither) at what comes next.
 */
export type Start = { readonly since?: Position | undefined; readonly last?: number | undefined };

/**
 * How a subscription was taken up. `position`: what comes next is after it. `recovered`: nothing
 * between `since` and here was out of reach; else `gap` says what.
 */
export type Subscribed = {
  readonly position: Position;
  readonly recovered: boolean;
  readonly gap?: Gap;
};

export class Reader {
  readonly id: number;
  /** Those who wait for it to stand. */
  readonly tickets: number[] = [];
  #start: Start;
  #position: Position | undefined;
  #isStanding = false;
  #isPaused = false;

  constructor(id: number, start: Start) {
    this.id = id;
    this.#start = start;
  }

  /** The last publication that was handed on; undefined until it has been told where it stands. */
  get position(): Position | undefined {
    return this.#position;
  }

  /** Where it wants to begin; undefined once it has. */
  get start(): Start | undefined {
    return this.#position === undefined ? this.#start : undefined;
  }

  /** It has been told that it stands, on this connection. */
  get isStanding(): boolean {
    return this.#isStanding;
  }

  get isPaused(): boolean {
    return this.#isPaused;
  }

  /** Begins anew from `start`, whatever it has read. */
  restart(start: Start): void {
    this.#start = start;
    this.#position = undefined;
    this.#isStanding = false;
  }

  /** It begins, or goes on, after `position`. */
  moveTo(position: Position): void {
    this.#position = position;
  }

  /** Returns what it is told. */
  stand(position: Position, gap: Gap | undefined): Subscribed {
    this.#position = position;
    this.#isStanding = true;
    return gap === undefined ? { position, recovered: true } : { position, recovered: false, gap };
  }

  /** Whether all that follows its position follows `stream` too. */
  isCovered(stream: Position | undefined): boolean {
    const position = this.#position;
    return (
      stream !== undefined &&
      position !== undefined &&
      position.epoch === stream.epoch &&
      position.offset >= stream.offset
    );
  }

  /** Moves to `offset`. False when this publication is none of its own: seen, or to come again. */
  acceptMessage(stream: Position, offset: number): boolean {
    if (this.#isPaused || !this.isCovered(stream)) return false;
    if (this.#position !== undefined && offset <= this.#position.offset) return false;
    this.#position = { epoch: stream.epoch, offset };
    return true;
  }

  /** What it misses of `gap`, after which the stream goes on at `position`. */
  missed(gap: Gap, position: Position): Gap | undefined {
    const at = this.#position;
    if (at === undefined) return gap;
    if (gap.reason === "epoch" || at.epoch !== position.epoch)
      return { ...gap, from: at.offset + 1 };
    if (at.offset >= position.offset) return undefined;
    return { ...gap, from: Math.max(gap.from, at.offset + 1) };
  }

  /** Takes no more, without losing its place: what arrives is read again after `resume`. */
  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
  }

  /** The stream is gone: it is told anew when it stands again. */
  streamLost(): void {
    this.#isStanding = false;
  }
}
