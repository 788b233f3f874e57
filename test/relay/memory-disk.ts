// A disk in memory for the relay's store: it can be full, lose power in the middle of a write, and
// be read back by a successor.

import { Producers, slotsFor } from "../../src/relay/channels/producers.ts";
import type { Disk } from "../../src/relay/journal/head.ts";
import { SEGMENT_BYTES, Segments } from "../../src/relay/journal/segments.ts";
import { replay } from "../../src/relay/store/replay.ts";
import { Store } from "../../src/relay/store/store.ts";

/** The process died inside a write. */
export class Died extends Error {}

export class MemoryDisk implements Disk {
  readonly files = new Map<number, { bytes: Uint8Array; length: number }>();
  isFull = false;
  /** The next write stops after this many bytes, and the process dies. */
  diesAfter: number | undefined;

  create(segment: number): boolean {
    if (this.isFull) return false;
    this.files.set(segment, { bytes: new Uint8Array(0), length: 0 });
    return true;
  }

  write(segment: number, bytes: Uint8Array, from: number, to: number): boolean {
    const file = this.files.get(segment);
    if (file === undefined) throw new Error(`segment ${segment} was never created`);
    if (file.length !== from)
      throw new Error(`a hole in segment ${segment}: it ends at ${file.length}, not ${from}`);
    if (this.isFull) return false;
    const end = this.diesAfter === undefined ? to : Math.min(to, from + this.diesAfter);
    if (end > file.bytes.length) {
      const grown = new Uint8Array(Math.min(SEGMENT_BYTES, Math.max(end, 2 * file.bytes.length)));
      grown.set(file.bytes.subarray(0, from));
      file.bytes = grown;
    }
    file.bytes.set(bytes.subarray(from, end), from);
    file.length = end;
    if (this.diesAfter !== undefined) throw new Died();
    return true;
  }

  remove(segment: number): void {
    this.files.delete(segment);
  }
}

/** A store on the disk: a new one, or the successor of the one that was there. */
export function storeOn(
  disk: MemoryDisk,
  segmentCount: number,
  options: {
    nowMs?: number;
    mayHaveLost?: boolean;
    newEpoch?: () => string;
    onFree?: (segment: number) => void;
    segments?: (wanted: number, first: number, found: number) => Segments;
  } = {},
) {
  const files = [...disk.files].sort(([a], [b]) => a - b);
  const create =
    options.segments ??
    ((wanted: number, first: number, found: number) => new Segments(wanted, first, found));
  const segments = create(segmentCount, files[0]?.[0] ?? 0, files.length);
  const freed: number[] = [];
  const store = new Store(
    segments,
    new Producers(slotsFor(segmentCount * SEGMENT_BYTES)),
    disk,
    (segment) => {
      freed.push(segment);
      options.onFree?.(segment);
    },
  );
  for (const [number, { bytes, length }] of files) {
    segments.bytes(number).set(bytes.subarray(0, length));
    segments.load(number, length);
  }
  const read = files.map(([number, { length }]) => ({ number, length }));
  const { nowMs = 0, mayHaveLost = false, newEpoch = () => "renewed" } = options;
  const replaying = replay(store, read, { nowMs, mayHaveLost, newEpoch });
  let step = replaying.next();
  while (step.done !== true) step = replaying.next();
  const { ends, damages, renewed } = step.value;
  files.forEach(([, file], i) => {
    file.length = ends[i];
  });
  if (!store.start()) throw new Error("the disk failed at start");
  return { store, segments, damages, renewed, freed };
}
