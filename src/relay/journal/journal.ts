// The journal's files: one per segment, `<number>.segment`, in the relay's data folder, beside a
// small file that says how the last run ended. Nothing else touches these files.

import {
  closeSync,
  fdatasyncSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import type { Logger } from "../../runtime/log.ts";
import { flag, integer, object, optional, type Shaped, text } from "../../wire/shape.ts";
import type { Disk } from "./head.ts";
import { JOURNAL_VERSION } from "./records.ts";
import { SEGMENT_BYTES } from "./segments.ts";

const SEGMENT_FILE = /^(\d{1,15})\.segment$/;

const runShape = object({
  version: integer(1, JOURNAL_VERSION),
  lineage: text(1, 32),
  bootId: text(0, 64),
  isClean: flag,
  isSynced: flag,
  relays: optional(integer(1, 1000)),
  end: optional(
    object({
      segment: integer(0, Number.MAX_SAFE_INTEGER),
      bytes: integer(0, SEGMENT_BYTES),
    }),
  ),
});
/**
 * How a run of the relay left its journal. `isSynced`: each write had reached the disk before it
 * was acknowledged. `relays`: how many shared the channels. `end`: where the journal ends, known
 * after a clean stop.
 */
export type Run = Shaped<typeof runShape>;

export class Journal implements Disk {
  readonly #folder: string;
  readonly #isSynced: boolean;
  readonly #log: Logger;
  #file: { segment: number; descriptor: number } | undefined;
  #isFailing = false;
  /** Segments with bytes that may not have reached the disk. */
  readonly #unsynced = new Set<number>();

  constructor(folder: string, isSynced: boolean, log: Logger) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    this.#folder = folder;
    this.#isSynced = isSynced;
    this.#log = log;
  }

  create(segment: number): boolean {
    return this.#attempt(() => {
      this.#close();
      this.#file = { segment, descriptor: openSync(this.pathOf(segment), "w+", 0o600) };
      if (this.#isSynced) this.#syncFolder();
    });
  }

  write(segment: number, bytes: Uint8Array, from: number, to: number): boolean {
    return this.#attempt(() => {
      const descriptor = this.#descriptor(segment);
      try {
        for (let at = from; at < to; ) at += writeSync(descriptor, bytes, at, to - at, at);
        if (this.#isSynced) fdatasyncSync(descriptor);
        else this.#unsynced.add(segment);
      } catch (error) {
        ftruncateSync(descriptor, from);
        throw error;
      }
    });
  }

  remove(segment: number): void {
    this.#unsynced.delete(segment);
    this.#attempt(() => unlinkSync(this.pathOf(segment)));
  }

  /** The segments on disk in the order of their numbers, and how many bytes each has. */
  list(): { number: number; length: number }[] {
    const numbers = readdirSync(this.#folder).flatMap((name) => {
      const match = SEGMENT_FILE.exec(name);
      return match === null ? [] : [Number(match[1])];
    });
    return numbers
      .sort((a, b) => a - b)
      .map((number) => ({
        number,
        length: Math.min(SEGMENT_BYTES, statSync(this.pathOf(number)).size),
      }));
  }

  /** Reads a segment's file into memory. Returns the bytes read. */
  read(segment: number, into: Uint8Array): number {
    const descriptor = openSync(this.pathOf(segment), "r");
    try {
      let at = 0;
      for (let taken = -1; taken !== 0 && at < into.length; at += taken)
        taken = readSync(descriptor, into, at, into.length - at, at);
      return at;
    } finally {
      closeSync(descriptor);
    }
  }

  /** Cuts off what follows the last whole batch. */
  truncate(segment: number, length: number): void {
    truncateSync(this.pathOf(segment), length);
  }

  /** Takes a segment that cannot be read in order out of the journal; its file stays, renamed. */
  setAside(segment: number): void {
    renameSync(this.pathOf(segment), `${this.pathOf(segment)}.unreadable`);
  }

  /** What the last run wrote; undefined when there is none, or it cannot be read. */
  lastRun(): Run | undefined {
    try {
      return runShape(JSON.parse(readFileSync(this.#runPath, "utf8")), "run");
    } catch {
      return undefined;
    }
  }

  /** Sees to it that these segments have reached the disk. */
  sync(segments: Iterable<number>): void {
    for (const segment of segments) {
      const descriptor = openSync(this.pathOf(segment), "r");
      fsyncSync(descriptor);
      closeSync(descriptor);
      this.#unsynced.delete(segment);
    }
    this.#syncFolder();
  }

  /** Writes how this run stands: unclean while it goes on, clean when it ends in order. */
  noteRun(run: Run): void {
    if (run.isClean) this.sync(this.#unsynced);
    const draft = `${this.#runPath}.new`;
    writeFileSync(draft, JSON.stringify(run), { mode: 0o600 });
    const descriptor = openSync(draft, "r");
    fsyncSync(descriptor);
    closeSync(descriptor);
    renameSync(draft, this.#runPath);
    this.#syncFolder();
  }

  get #runPath(): string {
    return join(this.#folder, "run.json");
  }

  /** The file of a segment. */
  pathOf(segment: number): string {
    return join(this.#folder, `${String(segment).padStart(8, "0")}.segment`);
  }

  #descriptor(segment: number): number {
    if (this.#file?.segment !== segment) {
      this.#close();
      this.#file = { segment, descriptor: openSync(this.pathOf(segment), "r+") };
    }
    return this.#file.descriptor;
  }

  #close(): void {
    if (this.#file === undefined) return;
    closeSync(this.#file.descriptor);
    this.#file = undefined;
  }

  #syncFolder(): void {
    const descriptor = openSync(this.#folder, "r");
    fsyncSync(descriptor);
    closeSync(descriptor);
  }

  /** Runs a disk operation; a failure is logged once until one succeeds again. */
  #attempt(operation: () => void): boolean {
    try {
      operation();
      if (this.#isFailing) this.#log.info("the journal can be written again");
      this.#isFailing = false;
      return true;
    } catch (error) {
      if (!this.#isFailing)
        this.#log.error({ err: error }, "the journal cannot be written: publications are refused");
      this.#isFailing = true;
      return false;
    }
  }
}
