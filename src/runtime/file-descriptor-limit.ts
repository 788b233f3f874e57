// How many file descriptors this process may have open.

import { readFileSync } from "node:fs";

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
