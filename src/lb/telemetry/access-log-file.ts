// The access log's file, or standard output. Lines are collected briefly and written by one system
// call, off the event loop. Lines that a slow or full disk does not accept are dropped and counted;
// traffic never waits for the log.

import { close, fstat, open, openSync, stat, write } from "node:fs";
import { promisify } from "node:util";
import { UsageError } from "../../runtime/arguments.ts";
import type { Logger } from "../../runtime/log.ts";
import { codeOf } from "../net/socket-owner.ts";
import { type AccessLog, type AccessRecord, accessLine } from "./access-log.ts";

const GATHER_MS = 10;
/** The limit of buffered characters during a write. */
const WAITING_CHARACTERS_MAX = 1024 * 1024;
/** How often to check whether the file has been moved. */
const LOOK_MS = 1000;
/** The delay before the next try when the output accepts nothing. */
const PAUSE_MS = 50;
const COMPLAINT_MS = 60_000;
const STOP_MS = 500;
const STANDARD_OUTPUT = 1;

const openFile = promisify(open);
const closeFile = promisify(close);
const statOf = promisify(stat);
const statOfOpen = promisify(fstat);

export class AccessLogFile implements AccessLog {
  lines = 0;
  dropped = 0;
  readonly #lb: string;
  /** Undefined: standard output. */
  readonly #path: string | undefined;
  readonly #log: Logger;
  #file: number;
  #waiting: string[] = [];
  #waitingCharacters = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #writing: Promise<void> | undefined;
  #mustReopen = false;
  #lookedAtMs = 0;
  #complainedAtMs = Number.NEGATIVE_INFINITY;
  /** The file ends with an incomplete line. */
  #isCut = false;

  /**
   * `path`: relative or absolute; "-" is standard output. Throws UsageError if it cannot be opened.
   */
  constructor(path: string, lb: string, log: Logger) {
    this.#lb = lb;
    this.#log = log;
    this.#path = path === "-" ? undefined : path;
    try {
      this.#file = path === "-" ? STANDARD_OUTPUT : openSync(path, "a", 0o600);
    } catch (error) {
      throw new UsageError(
        `--access-log ${path} cannot be opened (${codeOf(error)}): ` +
          "choose a file that can be written.",
      );
    }
  }

  now(): number {
    return performance.now();
  }

  time(): number {
    return Date.now();
  }

  write(record: AccessRecord): void {
    const line = accessLine(this.#lb, record);
    if (this.#waitingCharacters + line.length > WAITING_CHARACTERS_MAX) {
      this.dropped++;
      return;
    }
    this.#waiting.push(line);
    this.#waitingCharacters += line.length;
    this.#timer ??= setTimeout(() => this.#flush(), GATHER_MS);
  }

  /** Reopens the file by its name. */
  reopen(): void {
    this.#mustReopen = this.#path !== undefined;
    this.#timer ??= setTimeout(() => this.#flush(), 0);
  }

  /** Writes the buffered lines, within STOP_MS. */
  async close(): Promise<void> {
    const stopped = this.#writing ?? Promise.resolve();
    await Promise.race([stopped.then(() => this.#writeAll()), Bun.sleep(STOP_MS)]);
  }

  #flush(): void {
    if (this.#writing !== undefined) return;
    this.#writing = this.#writeAll()
      .catch((error: unknown) => this.#complain(error))
      .finally(() => {
        this.#writing = undefined;
        this.#timer = undefined;
        if (this.#waiting.length > 0 || this.#mustReopen)
          this.#timer = setTimeout(() => this.#flush(), GATHER_MS);
      });
  }

  async #writeAll(): Promise<void> {
    if (this.#mustReopen || (await this.#hasMoved())) await this.#openAgain();
    while (this.#waiting.length > 0) {
      const lines = this.#waiting;
      this.#waiting = [];
      this.#waitingCharacters = 0;
      await this.#put(lines);
    }
  }

  /** Several lbs may write to one file: one call appends whole lines, which stay together. */
  async #put(lines: readonly string[]): Promise<void> {
    const bytes = Buffer.from((this.#isCut ? "\n" : "") + lines.join(""));
    this.#isCut = false;
    let at = 0;
    try {
      while (at < bytes.length) at += await this.#append(bytes.subarray(at));
      this.lines += lines.length;
    } catch (error) {
      const lost = linesIn(bytes, at);
      this.lines += lines.length - lost;
      this.dropped += lost;
      this.#isCut = at > 0 && bytes[at - 1] !== LF;
      this.#complain(error);
    }
  }

  /** Resolves to the number of bytes written. */
  async #append(bytes: Buffer): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    write(this.#file, bytes, (error, taken) => {
      if (error === null) resolve(taken);
      else if (codeOf(error) === "EAGAIN") resolve(0);
      else reject(error);
    });
    const taken = await promise;
    if (taken === 0) await Bun.sleep(PAUSE_MS);
    return taken;
  }

  async #hasMoved(): Promise<boolean> {
    const nowMs = performance.now();
    if (this.#path === undefined || nowMs - this.#lookedAtMs < LOOK_MS) return false;
    this.#lookedAtMs = nowMs;
    try {
      const [ours, named] = await Promise.all([statOfOpen(this.#file), statOf(this.#path)]);
      return ours.ino !== named.ino || ours.dev !== named.dev;
    } catch {
      return true;
    }
  }

  /** If that fails, the old file stays in use. */
  async #openAgain(): Promise<void> {
    this.#mustReopen = false;
    if (this.#path === undefined) return;
    try {
      const before = this.#file;
      this.#file = await openFile(this.#path, "a", 0o600);
      this.#isCut = false;
      await closeFile(before);
    } catch (error) {
      this.#complain(error);
    }
  }

  #complain(error: unknown): void {
    const nowMs = performance.now();
    if (nowMs - this.#complainedAtMs < COMPLAINT_MS) return;
    this.#complainedAtMs = nowMs;
    this.#log.warn(
      { err: codeOf(error), dropped: this.dropped },
      "the access log cannot be written: lines are dropped",
    );
  }
}

const LF = 10;

/** The number of lines that end in `bytes` from `at` on. */
function linesIn(bytes: Buffer, at: number): number {
  let lines = 0;
  for (let end = bytes.indexOf(LF, at); end >= 0; end = bytes.indexOf(LF, end + 1)) lines++;
  return lines;
}
