// The format of log lines: JSON with time, level, role, id and msg, or coloured text on a terminal.
// Payloads, cookies and secrets are never logged.

import pino, { type Logger } from "pino";
import type PinoPretty from "pino-pretty";

export type { Logger } from "pino";

export const LOG_LEVELS = ["debug", "info", "warn", "error", "silent"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** Log bytes that are kept in memory while the disk is full. */
const KEPT_BYTES_MAX = 64 * 1024;

// Most processes log to a file and need not load the formatter.
const pretty = process.stderr.isTTY ? (await import("pino-pretty")).default : undefined;

/** Writes to standard error synchronously, so that the last line before a crash is kept. */
export function createLogger(role: string, id: string, level: LogLevel): Logger {
  const options = { base: { role, id }, level, timestamp: pino.stdTimeFunctions.isoTime };
  if (pretty === undefined) {
    const destination = pino.destination({ dest: 2, sync: true, maxLength: KEPT_BYTES_MAX });
    // A full disk or a closed pipe loses log lines and must not end the process: pino would throw.
    destination.on("error", () => {});
    return pino(options, destination);
  }
  return pino(options, prettyStream(pretty));
}

function prettyStream(create: typeof PinoPretty) {
  return create({
    destination: 2,
    sync: true,
    ignore: "role,id",
    messageFormat: "{role} {id}: {msg}",
  });
}

/** Prints log lines of other processes to standard error, coloured on a terminal. */
export function createLinePrinter(): (line: string) => void {
  const stream = pretty === undefined ? process.stderr : prettyStream(pretty);
  return (line) => void stream.write(`${line}\n`);
}

/** Prepares untrusted text for a log line: control characters escaped, length limited. */
export function loggable(text: string): string {
  return JSON.stringify(text.slice(0, 200)).slice(1, -1);
}
