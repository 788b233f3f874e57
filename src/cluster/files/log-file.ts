// The log file of a process: appended to, rotated, made again where it was deleted, and read back
// to explain a failure.

import {
  closeSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { readable } from "./output";

const LOG_BYTES_MAX = 10 * 1024 * 1024;
const TAIL_BYTES = 16 * 1024;
/** Logs of processes that are no more are kept for a week. */
const KEPT_MS = 7 * 24 * 60 * 60 * 1000;

export class LogFile {
  readonly path: string;
  #descriptor: number | undefined;
  #bytes = 0;

  constructor(path: string) {
    this.path = path;
  }

  /**
   * Appends a line. A full disk or a folder that cannot be written loses log lines and must not end
   * the cluster.
   */
  append(line: string): void {
    try {
      if (this.#bytes > LOG_BYTES_MAX) this.#rotate();
      this.#descriptor ??= this.#open();
      this.#bytes += writeSync(this.#descriptor, `${line}\n`);
    } catch {
      this.close();
    }
  }

  /** Opens it anew at the next line, if it was deleted or moved away. To be called now and then. */
  check(): void {
    if (this.#descriptor === undefined) return;
    const there = statSync(this.path, { throwIfNoEntry: false });
    if (there?.ino !== fstatSync(this.#descriptor).ino) this.close();
  }

  close(): void {
    if (this.#descriptor !== undefined) closeSync(this.#descriptor);
    this.#descriptor = undefined;
  }

  #open(): number {
    mkdirSync(dirname(this.path), { recursive: true, mode: 0o700 });
    const descriptor = openSync(this.path, "a", 0o600);
    this.#bytes = fstatSync(descriptor).size;
    return descriptor;
  }

  /** What is older than the last rotation goes. */
  #rotate(): void {
    this.close();
    this.#bytes = 0;
    renameSync(this.path, `${this.path}.1`);
  }
}

/**
 * Removes logs to which nothing was added for a week, but for those of the processes `inUse`, by
 * their ids. What cannot be removed stays.
 */
export function removeOldLogs(folder: string, inUse: ReadonlySet<string>, nowMs: number): void {
  try {
    for (const name of readdirSync(folder)) {
      if (inUse.has(name.slice(0, name.indexOf(".")))) continue;
      const path = join(folder, name);
      const { mtimeMs = nowMs } = statSync(path, { throwIfNoEntry: false }) ?? {};
      if (nowMs - mtimeMs > KEPT_MS) rmSync(path, { force: true });
    }
  } catch {
    // An old log does no harm, and the next time may go better.
  }
}

/** The last lines of a log as a person reads them; empty when there is none. */
export function lastLines(path: string, lines: number): string {
  let descriptor: number;
  try {
    descriptor = openSync(path, "r");
  } catch {
    return "";
  }
  try {
    const { size } = fstatSync(descriptor);
    const tail = Buffer.alloc(Math.min(size, TAIL_BYTES));
    const read = readSync(descriptor, tail, 0, tail.length, size - tail.length);
    const whole = tail.toString("utf8", 0, read).trimEnd().split("\n").slice(-lines);
    return whole.map(readable).join("\n");
  } finally {
    closeSync(descriptor);
  }
}
