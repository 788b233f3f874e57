// A simulated process: it runs while it is alive, can be stopped and continued as by SIGSTOP and
// SIGCONT, and dies at once. It is the clock of the cores that run in it.

import type { Cancel, Clock } from "../../src/runtime/clock.ts";
import type { Clock as VirtualClock } from "./clock.ts";

export class Process implements Clock {
  readonly name: string;
  readonly #clock: VirtualClock;
  #isAlive = true;
  /** Events that wait for SIGCONT; undefined while the process runs. */
  #stopped: (() => void)[] | undefined;

  constructor(name: string, clock: VirtualClock) {
    this.name = name;
    this.#clock = clock;
  }

  readonly wallMs = (): number => Math.floor(this.#clock.now);
  readonly monotonicMs = (): number => this.#clock.now;

  get isAlive(): boolean {
    return this.#isAlive;
  }

  get isStopped(): boolean {
    return this.#stopped !== undefined;
  }

  get isRunning(): boolean {
    return this.#isAlive && this.#stopped === undefined;
  }

  /** Runs an event of the process: now, when it is continued, or never. */
  run(work: () => void): void {
    if (!this.#isAlive) return;
    if (this.#stopped !== undefined) this.#stopped.push(work);
    else work();
  }

  after(delayMs: number, work: () => void): Cancel {
    let isCancelled = false;
    const due = () => {
      if (!isCancelled) work();
    };
    this.#clock.after(delayMs, () => this.run(due));
    return () => {
      isCancelled = true;
    };
  }

  /** Like setInterval: a process that was stopped catches up with one call, not with many. */
  every(intervalMs: number, work: () => void): Cancel {
    let cancel = () => {};
    const again = () => {
      work();
      cancel = this.after(intervalMs, again);
    };
    cancel = this.after(intervalMs, again);
    return () => cancel();
  }

  endOfTurn(work: () => void): void {
    this.#clock.after(0, () => this.run(work));
  }

  stop(): void {
    if (this.#isAlive) this.#stopped ??= [];
  }

  continue(): void {
    const waiting = this.#stopped ?? [];
    this.#stopped = undefined;
    for (const work of waiting) this.run(work);
  }

  kill(): void {
    this.#isAlive = false;
    this.#stopped = undefined;
  }
}
