// The journal's files: one per segment, `<number>.segment`, in the relay's data folder, beside a
// small file that says how the last run ended. This is the only place of the relay that touches the
// disk.

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
  rmSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import type { Logger } from "../runtime/log.ts";
import { flag, integer, object, type Shaped, text } from "../wire/shape.ts";
import type { Disk } from "./head.ts";
import { JOURNAL_VERSION } from "./records.ts";
import { SEGMENT_BYTES } from "./segments.ts";

const SEGMENT_FILE = /^(\d{1,15})\.segment$/;

const runShape = object({
  version: integer(JOURNAL_VERSION, JOURNAL_VERSION),
  lineage: text(1, 32),
  bootId: text(0, 64),
  isClean: flag,
  isSynced: flag,
});
/**
 * How a run of the relay left its journal. `isSynced`: each write had reached the disk before it
 * was acknowledged.
 */
export type Run = Shaped<typeof runShape>;

export class Journal implements Disk {
  readonly #folder: string;
  readonly #isSynced: boolean;
  readonly #log: Logger;
  #file: { segment: number; descriptor: number } | undefined;
  #isFailing = false;

  constructor(folder: string, isSynced: boolean, log: Logger) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    this.#folder = folder;
    this.#isSynced = isSynced;
    this.#log = log;
  }

  create(segment: number): boolean {
    return this.#attempt(() => {
      this.#close();
      this.#file = { segment, descriptor: openSync(this.#path(segment), "w+", 0o600) };
      if (this.#isSynced) this.#syncFolder();
    });
  }

  write(segment: number, bytes: Uint8Array, from: number, to: number): boolean {
    return this.#attempt(() => {
      const descriptor = this.#descriptor(segment);
      try {
        for (let at = from; at < to; ) at += writeSync(descriptor, bytes, at, to - at, at);
        if (this.#isSynced) fdatasyncSync(descriptor);
      } catch (error) {
        ftruncateSync(descriptor, from);
        throw error;
      }
    });
  }

  remove(segment: number): void {
    this.#attempt(() => unlinkSync(this.#path(segment)));
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
        length: Math.min(SEGMENT_BYTES, statSync(this.#path(number)).size),
      }));
  }

  /** Reads a segment's file into memory. Returns the bytes read. */
  read(segment: number, into: Uint8Array): number {
    const descriptor = openSync(this.#path(segment), "r");
    try {
      let at = 0;
      for (let taken = -1; taken !== 0 && at < into.length; at += taken)
        taken = readSync(descriptor, into, at, into.length - at, at);
      return at;
    } finally {
      closeSync(descriptor);
    }
  }

  /** Cuts off what follows the last whole frame. */
  truncate(segment: number, length: number): void {
    truncateSync(this.#path(segment), length);
  }

  /** Takes a segment that cannot be read in order out of the journal; its file stays, renamed. */
  setAside(segment: number): void {
    renameSync(this.#path(segment), `${this.#path(segment)}.unreadable`);
  }

  /** What the last run wrote; undefined when there is none, or it cannot be read. */
  lastRun(): Run | undefined {
    try {
      return runShape(JSON.parse(readFileSync(this.#runPath, "utf8")), "run");
    } catch {
      return undefined;
    }
  }

  /** Writes how this run stands: unclean while it goes on, clean when it ends in order. */
  noteRun(run: Run): void {
    if (run.isClean && this.#file !== undefined) fsyncSync(this.#file.descriptor);
    const draft = `${this.#runPath}.new`;
    writeFileSync(draft, JSON.stringify(run), { mode: 0o600 });
    const descriptor = openSync(draft, "r");
    fsyncSync(descriptor);
    closeSync(descriptor);
    renameSync(draft, this.#runPath);
    this.#syncFolder();
  }

  /** Takes back what was noted: the next run can rely on nothing. */
  forgetRun(): void {
    rmSync(this.#runPath, { force: true });
    this.#syncFolder();
  }

  get #runPath(): string {
    return join(this.#folder, "run.json");
  }

  #path(segment: number): string {
    return join(this.#folder, `${String(segment).padStart(8, "0")}.segment`);
  }

  #descriptor(segment: number): number {
    if (this.#file?.segment !== segment) {
      this.#close();
      this.#file = { segment, descriptor: openSync(this.#path(segment), "r+") };
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
