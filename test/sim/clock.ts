// Virtual time: callbacks run in the order of their times, and the microtasks that one leaves run
// before the next.

import { drainMicrotasks } from "bun:jsc";

type Planned = { readonly at: number; readonly order: number; readonly run: () => void };

const isBefore = (a: Planned, b: Planned): boolean =>
  a.at < b.at || (a.at === b.at && a.order < b.order);

export class Clock {
  /** Milliseconds. */
  now = 1_000_000;
  #order = 0;
  /** A binary heap. */
  readonly #heap: Planned[] = [];

  at(time: number, run: () => void): void {
    const heap = this.#heap;
    const planned = { at: Math.max(time, this.now), order: this.#order++, run };
    let index = heap.push(planned) - 1;
    while (index > 0) {
      const parent = (index - 1) >>> 1;
      if (isBefore(heap[parent], planned)) break;
      heap[index] = heap[parent];
      index = parent;
    }
    heap[index] = planned;
  }

  after(delayMs: number, run: () => void): void {
    this.at(this.now + delayMs, run);
  }

  runUntil(end: number): void {
    for (let next = this.#heap[0]; next !== undefined && next.at <= end; next = this.#heap[0]) {
      this.#takeFirst();
      this.now = next.at;
      next.run();
      drainMicrotasks();
    }
    this.now = end;
  }

  #takeFirst(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let index = 0;
    for (let child = 1; child < heap.length; child = 2 * index + 1) {
      if (child + 1 < heap.length && isBefore(heap[child + 1], heap[child])) child++;
      if (isBefore(last, heap[child])) break;
      heap[index] = heap[child];
      index = child;
    }
    heap[index] = last;
  }
}
