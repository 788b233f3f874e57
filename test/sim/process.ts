// A simulated process: it runs while it is alive, can be stopped and continued like SIGSTOP and
// SIGCONT do it, and dies at once.

import type { Clock } from "./clock.ts";

export class Process {
  readonly name: string;
  readonly #clock: Clock;
  #isAlive = true;
  /** What waits for the process to be continued; undefined while it runs. */
  #stopped: (() => void)[] | undefined;

  constructor(name: string, clock: Clock) {
    this.name = name;
    this.#clock = clock;
  }

  get isAlive(): boolean {
    return this.#isAlive;
  }

  get isStopped(): boolean {
    return this.#stopped !== undefined;
  }

  get isRunning(): boolean {
    return this.#isAlive && this.#stopped === undefined;
  }

  /** Something happens to the process: now, when it is continued, or never. */
  run(work: () => void): void {
    if (!this.#isAlive) return;
    if (this.#stopped !== undefined) this.#stopped.push(work);
    else work();
  }

  after(delayMs: number, work: () => void): void {
    this.#clock.after(delayMs, () => this.run(work));
  }

  /** Like setInterval: a process that was stopped catches up with one call, not with many. */
  every(intervalMs: number, work: () => void): void {
    this.after(intervalMs, () => {
      work();
      this.every(intervalMs, work);
    });
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
