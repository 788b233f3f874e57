// The file descriptors of this process: how many it may have, and whether some are free.

import { closeSync, openSync, readFileSync } from "node:fs";

/** Where the system does not say: the usual limit on macOS, to which Bun raises its own. */
const FALLBACK = 10_240;

export function fileDescriptorLimit(): number {
  try {
    const match = /^Max open files +(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"));
    return match === null ? FALLBACK : Number(match[1]);
  } catch {
    return FALLBACK;
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
