// The log files of the processes: opened to append, rotated, and read back to explain a failure.

import {
  closeSync,
  copyFileSync,
  existsSync,
  fstatSync,
  openSync,
  readSync,
  statSync,
  truncateSync,
} from "node:fs";

const LOG_BYTES_MAX = 10 * 1024 * 1024;
const TAIL_BYTES = 8 * 1024;

/** A descriptor that a child may inherit: it appends, even after the file was truncated. */
export function openLog(path: string): number {
  keepLogSmall(path);
  return openSync(path, "a", 0o600);
}

/** Copies a log that is too long to `<path>.1` and truncates it; its process keeps it open. */
export function keepLogSmall(path: string): void {
  const bytes = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  if (bytes <= LOG_BYTES_MAX) return;
  try {
    copyFileSync(path, `${path}.1`);
  } catch {
    // The disk is full: the old lines are lost.
  }
  if (existsSync(path)) truncateSync(path);
}

/** The last lines of a log; empty when there is none. */
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
    return tail.toString("utf8", 0, read).trimEnd().split("\n").slice(-lines).join("\n");
  } finally {
    closeSync(descriptor);
  }
}
