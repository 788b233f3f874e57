// The relay's memory: a ring of fixed segments that are allocated once and reused. A segment holds
// the same bytes as its journal file. Anything in it is named by its place. Nothing here knows a
// file.

import { readU32 } from "../../wire/bytes.ts";

export const SEGMENT_BYTES = 4 * 1024 * 1024;
/**
 * Segments that are kept free, so that copying forward out of the oldest one always has room to
 * begin.
 */
const SPARE_SEGMENTS = 4;
/** Segments that a journal may need beyond those that were found, until the oldest are freed. */
const SEGMENTS_TO_TURN = 8;

/**
 * Where a frame begins: segment number × SEGMENT_BYTES + position. Places only grow; they stay
 * exact for 2^53 bytes.
 */
export type Place = number;

export const segmentOf = (place: Place): number => Math.floor(place / SEGMENT_BYTES);
export const positionOf = (place: Place): number => place - segmentOf(place) * SEGMENT_BYTES;

export class Segments {
  /** How many segments the ring has. */
  readonly count: number;
  /** How many there are to be. A journal that is read back may have more, for a while. */
  readonly wanted: number;
  /** The number of the oldest segment that is in use. */
  oldest: number;
  /** The number of the segment that is being filled; numbers only grow. */
  head: number;
  /** Where the next frame of the head segment goes. */
  end = 0;
  readonly #slots: (Buffer | undefined)[];
  /** Memory of freed segments. */
  readonly #spare: Buffer[] = [];
  /** How far each slot's segment is filled. */
  readonly #ends: number[];

  /**
   * `wanted`: segments that the memory is to have, at least 8. `found`: how many a journal has that
   * is to be read back. `first`: the number of the first one.
   */
  constructor(wanted: number, first = 0, found = 0) {
    const count = Math.max(wanted, found + SEGMENTS_TO_TURN);
    this.count = count;
    this.wanted = wanted;
    this.oldest = first;
    this.head = first;
    this.#slots = new Array(count).fill(undefined);
    this.#ends = new Array(count).fill(0);
  }

  /** The bytes of a segment in use. They are reused once it is freed. */
  bytes(segment: number): Buffer {
    const slot = segment % this.count;
    const bytes =
      this.#slots[slot] ?? this.#spare.pop() ?? Buffer.allocUnsafeSlow(SEGMENT_BYTES).fill(0);
    this.#slots[slot] = bytes;
    return bytes;
  }

  /** How far a segment is filled, in bytes. */
  endOf(segment: number): number {
    return segment === this.head ? this.end : this.#ends[segment % this.count];
  }

  /** Bytes of the frame at `place`, its length field included. */
  frameBytes(place: Place): number {
    return 4 + readU32(this.bytes(segmentOf(place)), positionOf(place));
  }

  /** How many segments may be in use. */
  get usable(): number {
    return this.wanted - SPARE_SEGMENTS;
  }

  hasRoom(bytes: number): boolean {
    return this.end + bytes <= SEGMENT_BYTES;
  }

  /** Whether every segment but the spare ones is in use: the oldest must be emptied and freed. */
  get isFull(): boolean {
    return this.head - this.oldest + 1 > this.usable;
  }

  /** Whether a new head would overwrite the oldest segment in use. */
  get isExhausted(): boolean {
    return this.head - this.oldest + 1 >= this.count;
  }

  /** Copies a frame to the end of the head, which must have room. */
  append(frame: Uint8Array, start: number, end: number): Place {
    const at = this.end;
    const head = this.bytes(this.head);
    if (frame instanceof Buffer) frame.copy(head, at, start, end);
    else head.set(frame.subarray(start, end), at);
    this.end = at + end - start;
    return this.head * SEGMENT_BYTES + at;
  }

  /** Takes back everything behind `end` of the head. */
  truncate(end: number): void {
    this.end = end;
  }

  /** Begins the next segment. */
  advance(): void {
    this.#ends[this.head % this.count] = this.end;
    this.head++;
    this.end = 0;
  }

  /** Makes the next segment of a journal that is read back the head, filled to `end`. */
  load(segment: number, end: number): void {
    if (segment !== this.oldest) this.advance();
    this.end = end;
  }

  /** What a segment of a journal that is read back holds behind `end` is not part of it. */
  cut(segment: number, end: number): void {
    if (segment === this.head) this.end = end;
    else this.#ends[segment % this.count] = end;
  }

  /** The oldest is used no more; its memory serves the next head. */
  freeOldest(): void {
    const slot = this.oldest % this.count;
    const bytes = this.#slots[slot];
    this.#slots[slot] = undefined;
    if (bytes !== undefined && this.#spare.length < SPARE_SEGMENTS) this.#spare.push(bytes);
    this.oldest++;
  }
}
