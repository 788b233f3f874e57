// What the processes print, made into one log format: JSON lines with the role and id of the
// process. A line that is no JSON comes from the app or from Bun and is wrapped. Pure.

import { isRecord } from "../../wire/shape";

/** Longer lines are cut in pieces. */
const LINE_CHARACTERS_MAX = 64 * 1024;
const INFO = 30;
const WARN = 40;
const LEVELS = { debug: 20, info: INFO, warn: WARN, error: 50, silent: Number.POSITIVE_INFINITY };
const HELD_MAX = 200;

/** Cuts the bytes of a stream into lines. */
export class LineSplitter {
  readonly #decoder = new TextDecoder();
  #rest = "";

  push(bytes: Uint8Array): string[] {
    const lines = (this.#rest + this.#decoder.decode(bytes, { stream: true })).split("\n");
    this.#rest = lines.pop() ?? "";
    if (this.#rest.length > LINE_CHARACTERS_MAX) {
      lines.push(this.#rest);
      this.#rest = "";
    }
    return lines.filter((line) => line.trim() !== "");
  }

  /** What came after the last line break. */
  end(): string[] {
    const rest = this.#rest;
    this.#rest = "";
    return rest.trim() === "" ? [] : [rest];
  }
}

export type LineSource = {
  readonly role: string;
  readonly id: string;
  readonly stream: "stdout" | "stderr";
};

/** `isOwn`: written by our logger; otherwise by the app, its libraries or Bun. */
export type LogRecord = { readonly line: string; readonly level: number; readonly isOwn: boolean };

export function logRecord(line: string, { role, id, stream }: LineSource, time: string): LogRecord {
  const level = stream === "stdout" ? INFO : WARN;
  const said = parsed(line);
  if (said === undefined) {
    const record = { level, time, role, id, msg: line.trimEnd() };
    return { line: JSON.stringify(record), level, isOwn: false };
  }
  const own = typeof said.level === "number" ? said.level : level;
  if (said.role === role && said.id === id) return { line, level: own, isOwn: true };
  // An app with a JSON logger of its own.
  const record = { level: own, time, ...said, role, id };
  return { line: JSON.stringify(record), level: own, isOwn: false };
}

/** A log line as a person reads it: what it says, and an error's stack. */
export function readable(line: string): string {
  const said = parsed(line);
  if (typeof said?.msg !== "string") return line;
  const stack = isRecord(said.err) && typeof said.err.stack === "string" ? said.err.stack : "";
  return stack === "" ? said.msg : `${said.msg}\n${stack}`;
}

function parsed(line: string): Record<string, unknown> | undefined {
  if (!line.startsWith("{")) return undefined;
  try {
    const value: unknown = JSON.parse(line);
    return isRecord(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Shows the operator of a running cluster warnings and what the app prints. Until the cluster is
 * up the lines wait: if it does not come up, its refusal says what matters.
 */
export class Echo {
  readonly #level: keyof typeof LEVELS;
  readonly #print: (line: string) => void;
  #held: string[] | undefined = [];

  constructor(level: keyof typeof LEVELS, print: (line: string) => void) {
    this.#level = level;
    this.#print = print;
  }

  recordWritten({ line, level, isOwn }: LogRecord): void {
    const least = LEVELS[this.#level];
    const isShown = isOwn ? level >= Math.max(WARN, least) : least !== LEVELS.silent;
    if (!isShown) return;
    if (this.#held === undefined) this.#print(line);
    else if (this.#held.length < HELD_MAX) this.#held.push(line);
  }

  clusterIsUp(): void {
    for (const line of this.#held ?? []) this.#print(line);
    this.#held = undefined;
  }
}
