// What waits to be sent to one link, in order: runs of frames, which stay in their segments, and
// control frames. A slow link costs a list of places, not copies.

import { type Place, positionOf, type Segments, segmentOf } from "../journal/segments.ts";

/** Bytes that one `next` gathers at most; longer runs are handed out as they are. */
const GATHER_BYTES = 256 * 1024;
const COMPACT_AT = 1024;

/** Where outboxes gather short frames into one write; all links of a relay share it. */
export const gatherBuffer = (): Buffer => Buffer.alloc(GATHER_BYTES);

export class Outbox {
  readonly #gather: Buffer;
  /** Per item: where its run begins and ends, or its control frame. */
  #from: Place[] = [];
  #to: Place[] = [];
  #control: (Uint8Array | undefined)[] = [];
  #head = 0;
  #bytes = 0;

  constructor(gather: Buffer) {
    this.#gather = gather;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Items that wait: what a slow link costs in memory. */
  get items(): number {
    return this.#from.length - this.#head;
  }

  /** Adds the frames from `from` to `to`, in one segment. Extends an adjacent last run. */
  pushRun(from: Place, to: Place): void {
    const last = this.#from.length - 1;
    this.#bytes += to - from;
    if (last >= this.#head && this.#to[last] === from && this.#control[last] === undefined) {
      this.#to[last] = to;
      return;
    }
    this.#from.push(from);
    this.#to.push(to);
    this.#control.push(undefined);
  }

  /** Adds a complete control frame. */
  pushControl(frame: Uint8Array): void {
    this.#from.push(0);
    this.#to.push(frame.length);
    this.#control.push(frame);
    this.#bytes += frame.length;
  }

  /** The oldest segment that a waiting run lies in; Infinity when none does. */
  oldestSegment(): number {
    let oldest = Number.POSITIVE_INFINITY;
    for (let i = this.#head; i < this.#from.length; i++)
      if (this.#control[i] === undefined) oldest = Math.min(oldest, segmentOf(this.#from[i]));
    return oldest;
  }

  /**
   * The next bytes to write; empty when nothing waits. Valid until the next call on any outbox with
   * the same gather buffer.
   */
  next(segments: Segments): Uint8Array {
    const head = this.#head;
    const gather = this.#gather;
    if (head === this.#from.length) return gather.subarray(0, 0);
    const length = this.#to[head] - this.#from[head];
    if (length >= GATHER_BYTES / 2 || head === this.#from.length - 1)
      return this.#view(head, segments);
    let at = 0;
    for (let i = head; i < this.#from.length && at < GATHER_BYTES; i++) {
      const control = this.#control[i];
      const from = this.#from[i];
      const taken = Math.min(this.#to[i] - from, GATHER_BYTES - at);
      if (control === undefined) {
        const position = positionOf(from);
        segments.bytes(segmentOf(from)).copy(gather, at, position, position + taken);
      } else {
        gather.set(control.subarray(from, from + taken), at);
      }
      at += taken;
    }
    return gather.subarray(0, at);
  }

  /** Drops the first `bytes` bytes, which have been written. */
  taken(bytes: number): void {
    this.#bytes -= bytes;
    let left = bytes;
    while (left > 0) {
      const length = this.#to[this.#head] - this.#from[this.#head];
      if (left < length) {
        this.#from[this.#head] += left;
        return;
      }
      left -= length;
      this.#control[this.#head] = undefined;
      this.#head++;
    }
    if (this.#head === this.#from.length) this.#dropFirst(this.#head);
    else if (this.#head >= COMPACT_AT && this.#head * 2 >= this.#from.length)
      this.#dropFirst(this.#head);
  }

  clear(): void {
    this.#dropFirst(this.#from.length);
    this.#bytes = 0;
  }

  #dropFirst(count: number): void {
    this.#from.splice(0, count);
    this.#to.splice(0, count);
    this.#control.splice(0, count);
    this.#head = 0;
  }

  #view(item: number, segments: Segments): Uint8Array {
    const from = this.#from[item];
    const length = this.#to[item] - from;
    const control = this.#control[item];
    if (control !== undefined) return control.subarray(from, from + length);
    const position = positionOf(from);
    return segments.bytes(segmentOf(from)).subarray(position, position + length);
  }
}
