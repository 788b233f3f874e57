// A simulated connection: what is sent arrives in order, after a delay. It can be closed,
// half-closed, cut, stalled, or silently dead: then nothing arrives and neither end is told.

import { below, between, type Random } from "../../src/runtime/random.ts";
import type { Clock } from "./clock.ts";
import type { Process } from "./process.ts";

/** What happens at one end. `closed` comes at most once, and nothing after it. */
export type End<T> = {
  readonly process: Process;
  receive(data: T): void;
  closed(code: number): void;
};
export type Side = 0 | 1;
const other = (side: Side): Side => (side === 0 ? 1 : 0);

export const NORMAL = 1000;
export const ABNORMAL = 1006;

export class Network {
  readonly clock: Clock;
  readonly random: Random;
  /** Delays are this many times longer now. */
  slowness = 1;
  /** Receives a line for every event, if set. */
  trace: ((line: string) => void) | undefined;

  constructor(clock: Clock, random: Random) {
    this.clock = clock;
    this.random = random;
  }

  note(line: () => string): void {
    this.trace?.(`${this.clock.now.toFixed(3)} ${line()}`);
  }

  delayMs(): number {
    const { random } = this;
    return (random() < 0.05 ? between(random, 5, 60) : between(random, 0.1, 3)) * this.slowness;
  }

  /** How many of these bytes a socket takes at once: mostly all. */
  bytesTaken(bytes: number): number {
    return this.random() < 0.03 ? below(this.random, bytes) : bytes;
  }
}

export class Cable<T> {
  readonly #network: Network;
  readonly #ends: readonly [End<T>, End<T>];
  /** When the last data sent to each side arrives: nothing overtakes it. */
  readonly #arrivesAt: [number, number] = [0, 0];
  readonly #isClosed: [boolean, boolean] = [false, false];
  #isDead = false;
  /** Called when data has arrived at side 0. */
  onArrived: ((data: T) => void) | undefined;

  constructor(network: Network, ends: readonly [End<T>, End<T>]) {
    this.#network = network;
    this.#ends = ends;
  }

  /** Whether either side is open. */
  get isOpen(): boolean {
    return !(this.#isClosed[0] && this.#isClosed[1]);
  }

  isClosed(side: Side): boolean {
    return this.#isClosed[side];
  }

  send(from: Side, data: T): void {
    if (this.#isClosed[from]) return;
    const to = other(from);
    this.#arrive(to, () => {
      if (to === 0) this.onArrived?.(data);
      this.#network.note(
        () =>
          `${this.#ends[to].process.name} hears ${this.#ends[from].process.name}: ${textOf(data)}`,
      );
      this.#ends[to].receive(data);
    });
  }

  /** Closes this side; the other is told behind all that was sent. */
  close(from: Side, code: number): void {
    if (this.#isClosed[from]) return;
    this.#isClosed[from] = true;
    this.#tellClosed(other(from), code);
  }

  /** Half-closes: the other side is told behind all that was sent; this side still hears it. */
  finish(from: Side): void {
    if (!this.#isClosed[from]) this.#tellClosed(other(from), NORMAL);
  }

  /** Both sides are told soon; what was on its way is lost. */
  cut(): void {
    for (const side of [0, 1] as const) {
      this.#arrivesAt[side] = this.#network.clock.now;
      this.#tellClosed(side, ABNORMAL);
    }
    this.#isDead = true;
  }

  /** The process at this side has died: what it had sent may still arrive, or not. */
  died(side: Side): void {
    this.#isClosed[side] = true;
    if (this.#network.random() < 0.5) this.#tellClosed(other(side), ABNORMAL);
    else this.cut();
  }

  /** Nothing arrives any more, and neither end is told. */
  silence(): void {
    this.#isDead = true;
  }

  /** Nothing arrives at this side for that time. */
  stall(side: Side, forMs: number): void {
    this.#arrivesAt[side] = Math.max(this.#arrivesAt[side], this.#network.clock.now + forMs);
  }

  #arrive(to: Side, arrived: () => void): void {
    const { clock } = this.#network;
    this.#arrivesAt[to] = Math.max(this.#arrivesAt[to], clock.now + this.#network.delayMs());
    clock.at(this.#arrivesAt[to], () => {
      if (this.#isDead) return;
      this.#ends[to].process.run(() => {
        if (!this.#isClosed[to]) arrived();
      });
    });
  }

  #tellClosed(to: Side, code: number): void {
    if (this.#isDead) return;
    const { clock } = this.#network;
    clock.at(Math.max(this.#arrivesAt[to], clock.now + this.#network.delayMs()), () => {
      this.#ends[to].process.run(() => {
        if (this.#isClosed[to]) return;
        this.#isClosed[to] = true;
        this.#network.note(() => `${this.#ends[to].process.name} is closed with ${code}`);
        this.#ends[to].closed(code);
      });
    });
  }
}

const textOf = (data: unknown): string =>
  data instanceof Uint8Array
    ? `${data.length} bytes, ${Bun.hash(data)}`
    : String(data).slice(0, 300);
