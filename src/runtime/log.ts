// The one shape of a log line: JSON with time, level, role, id and msg; the same events, coloured,
// on a terminal. Payloads, cookies and secrets are never logged.

import pino, { type Logger } from "pino";

export type { Logger } from "pino";

export const LOG_LEVELS = ["debug", "info", "warn", "error", "silent"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** How much is kept to be written once the disk has room again. */
const KEPT_BYTES_MAX = 64 * 1024;

// Most processes log to a file: they need not load what makes lines pretty.
const pretty = process.stderr.isTTY ? (await import("pino-pretty")).default : undefined;

/** Writes to standard error, synchronously, so that the last line before a crash is there. */
export function createLogger(role: string, id: string, level: LogLevel): Logger {
  const options = { base: { role, id }, level, timestamp: pino.stdTimeFunctions.isoTime };
  if (pretty === undefined) {
    const destination = pino.destination({ dest: 2, sync: true, maxLength: KEPT_BYTES_MAX });
    // A full disk, or a reader that has gone, costs lines and never the process: pino would throw.
    destination.on("error", () => {});
    return pino(options, destination);
  }
  const stream = pretty({
    destination: 2,
    sync: true,
    ignore: "role,id",
    messageFormat: "{role} {id}: {msg}",
  });
  return pino(options, stream);
}

/** Client-given text for a log line: control characters escaped, length capped. */
export function loggable(text: string): string {
  return JSON.stringify(text.slice(0, 200)).slice(1, -1);
}
