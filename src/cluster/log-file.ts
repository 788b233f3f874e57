// The log files of the processes: opened to append, kept small, and read back when one of them
// explains a failure.

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

/**
 * A descriptor that a child may inherit: every write goes to the end, wherever the file was cut
 * meanwhile.
 */
export function openLog(path: string): number {
  keepLogSmall(path);
  return openSync(path, "a", 0o600);
}

/**
 * Moves what a log holds to `<path>.1` once it has grown too long. The file stays the same, so a
 * running process can go on writing to it.
 */
export function keepLogSmall(path: string): void {
  const bytes = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  if (bytes <= LOG_BYTES_MAX) return;
  try {
    copyFileSync(path, `${path}.1`);
  } catch {
    // The disk is full: then what is cut off is lost, and makes room.
  }
  if (existsSync(path)) truncateSync(path);
}

/** The last lines of a log; empty where there is none. */
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
