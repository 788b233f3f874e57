// The head of the journal: what is appended to the segment that is being filled, how much of that
// is written, and where the next segment begins. Knows files only as a Disk that says yes or no.
// Pure.

import { BATCH_HEADER_BYTES, type BatchKind, writeBatchHeader } from "./batch.ts";
import { encodeRecord, JOURNAL_VERSION } from "./records.ts";
import { type Place, positionOf, type Segments } from "./segments.ts";

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
  readonly #nextId: () => number;
  /** How much of the head segment is journaled. */
  #written = 0;
  /** What is appended and not written yet lies behind the room for a header at `#written`. */
  #pending: BatchKind | undefined;

  /** `nextId`: the channel id that is given next. */
  constructor(segments: Segments, disk: Disk, nextId: () => number) {
    this.#segments = segments;
    this.#disk = disk;
    this.#nextId = nextId;
  }

  /**
   * Goes on where a journal ends that was read back, or begins a new one. `beginsSegment`: not in
   * the segment where that journal ends. False: the disk failed.
   */
  start(beginsSegment: boolean): boolean {
    this.#written = this.#segments.end;
    if (this.#written > 0 && !beginsSegment) return true;
    return this.beginSegment() && this.write();
  }

  get written(): number {
    return this.#written;
  }

  /** Whether so many bytes fit into the head segment, with the header that they may need. */
  hasRoom(bytes: number): boolean {
    return this.#segments.hasRoom(bytes + BATCH_HEADER_BYTES);
  }

  /** Makes it durable as far as it is filled. False: the disk failed. */
  write(): boolean {
    if (this.#pending === undefined) return true;
    const { head, end } = this.#segments;
    const bytes = this.#segments.bytes(head);
    writeBatchHeader(bytes, this.#written, end, this.#pending, head);
    if (!this.#disk.write(head, bytes, this.#written, end)) return false;
    this.#written = end;
    this.#pending = undefined;
    return true;
  }

  /**
   * What is appended next belongs to a batch of that kind. False: what waits is of the other kind,
   * and the disk failed.
   */
  open(kind: BatchKind): boolean {
    if (this.#pending === kind) return true;
    if (this.#pending !== undefined && !this.write()) return false;
    this.#segments.end += BATCH_HEADER_BYTES;
    this.#pending = kind;
    return true;
  }

  /**
   * Appends a frame of our own, in the next segment if need be; undefined when there is none, or
   * the disk failed.
   */
  append(kind: BatchKind, frame: Uint8Array, start = 0, end = frame.length): Place | undefined {
    if (!this.hasRoom(end - start) && !(this.write() && this.beginSegment())) return undefined;
    if (!this.open(kind)) return undefined;
    return this.#segments.append(frame, start, end);
  }

  /** Takes back what was appended at or behind `place`, and is not written. */
  retract(place: Place): void {
    const position = positionOf(place);
    const isEmpty = position === this.#written + BATCH_HEADER_BYTES;
    this.#segments.truncate(isEmpty ? this.#written : position);
    if (isEmpty) this.#pending = undefined;
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
    const nextId = this.#nextId();
    const header = encodeRecord({ type: "segment", version: JOURNAL_VERSION, number, nextId });
    return this.append("commit", header) !== undefined;
  }
}
