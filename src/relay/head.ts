// The head of the journal: what is appended to the segment that is being filled, how much of that
// is written, and where the next segment begins. Knows files only as a Disk that says yes or no.
// Pure.

import { encodeRecord, JOURNAL_VERSION } from "./records.ts";
import type { Place, Segments } from "./segments.ts";

/**
 * Where segments are made durable. Each call is done when it returns; false: it failed, and nothing
 * of it remains.
 */
export type Disk = {
  create(segment: number): boolean;
  /** Writes `from`…`to` of the segment's bytes at the same place of its file. */
  write(segment: number, bytes: Uint8Array, from: number, to: number): boolean;
  remove(segment: number): void;
};

export class Head {
  readonly #segments: Segments;
  readonly #disk: Disk;
  /** How much of the head segment is journaled. */
  #written = 0;

  constructor(segments: Segments, disk: Disk) {
    this.#segments = segments;
    this.#disk = disk;
  }

  /**
   * Goes on where a journal ends that was read back, or begins a new one. False: the disk failed.
   */
  start(): boolean {
    this.#written = this.#segments.end;
    return this.#written > 0 || (this.beginSegment() && this.write());
  }

  /** Makes it durable as far as it is filled. False: the disk failed. */
  write(): boolean {
    const { head, end } = this.#segments;
    if (end === this.#written) return true;
    if (!this.#disk.write(head, this.#segments.bytes(head), this.#written, end)) return false;
    this.#written = end;
    return true;
  }

  /**
   * Appends a frame of our own, in the next segment if need be; undefined when there is none, or
   * the disk failed.
   */
  append(frame: Uint8Array, start = 0, end = frame.length): Place | undefined {
    if (!this.#segments.hasRoom(end - start) && !(this.write() && this.beginSegment()))
      return undefined;
    return this.#segments.append(frame, start, end);
  }

  /**
   * Begins the next segment; what is in the one before must be written. False: there is none free,
   * or the disk failed.
   */
  beginSegment(): boolean {
    const segments = this.#segments;
    const isFirst = segments.end === 0;
    if (!isFirst && segments.isExhausted) return false;
    const number = isFirst ? segments.head : segments.head + 1;
    if (!this.#disk.create(number)) return false;
    if (!isFirst) segments.advance();
    this.#written = 0;
    const header = encodeRecord({ type: "segment", version: JOURNAL_VERSION, number });
    segments.append(header, 0, header.length);
    return true;
  }
}
