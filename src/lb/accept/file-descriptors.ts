// The file descriptors of this process: how many it may have, and whether some are free.

import { closeSync, openSync, readFileSync } from "node:fs";

const UNKNOWN = 10_240;

/** File descriptors this process may have. */
export function descriptorsMax(): number {
  try {
    const match = /^Max open files +(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"));
    return match === null ? UNKNOWN : Number(match[1]);
  } catch {
    return UNKNOWN;
  }
}

/** Whether so many can be opened now. */
export function areDescriptorsFree(count: number): boolean {
  const opened: number[] = [];
  try {
    while (opened.length < count) opened.push(openSync("/dev/null", "r"));
    return true;
  } catch {
    return false;
  } finally {
    for (const descriptor of opened) closeSync(descriptor);
  }
}
