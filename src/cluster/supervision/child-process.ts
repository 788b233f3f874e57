// One process of the cluster over all its runs: started, and started again whenever it exits, until
// it is stopped.

import { existsSync, rmSync } from "node:fs";
import { formatAddress } from "../../runtime/arguments";
import type { Logger } from "../../runtime/log";
import { LogFile, lastLines } from "../files/log-file";
import { type LogRecord, logRecord } from "../files/output";
import { Refusal } from "../files/refusal";
import type { ProcessState, ProcessStatus, Role } from "../report/status";
import { type Environment, type Exit, ProcessRun } from "./process-run";
import { afterExit, CRASH_WINDOW_MS, EXITS_MAX, NO_EXITS } from "./supervision-rules";

/**
 * A relay keeps freed pages for reuse: returning them and faulting them in again costs it up to
 * half of its CPU, and its memory is bounded by its ring. A node returns them: clients that do not
 * read make it take far more for a moment than it needs. The operator's environment wins.
 */
const KEEPS_PAGES: Environment = { MIMALLOC_PURGE_DELAY: "-1" };
const ENVIRONMENTS: Readonly<Record<Role, Environment>> = {
  relay: KEEPS_PAGES,
  node: {},
  lb: {},
};

const ANSWER_TIMEOUT_MS = 1000;
const LOG_LINES_SHOWN = 12;
/** How often a process that drains is asked whether clients are left. */
const DRAINING_POLL_MS = 50;
const RETIRING_POLL_MS = 500;

/** What a process is and how to start it. */
export type Program = {
  readonly role: Role;
  readonly id: string;
  readonly logFile: string;
  /** Its unix socket, if any: a killed process leaves the file behind. */
  readonly socketFile?: string;
  /** How long a start may take without a sign of progress. */
  readonly readyMs: number;
  /** How long a graceful stop may take. */
  readonly graceMs: number;
  /**
   * Script and flags. Called at every start, because addresses become known as processes get ready.
   */
  readonly command: () => readonly string[];
};

export class ChildProcess {
  readonly #program: Program;
  readonly #logger: Logger;
  readonly #log: LogFile;
  readonly #recordWritten: (record: LogRecord) => void;
  #current: ProcessRun | undefined;
  #address: string | undefined;
  #runs = 0;
  #startedAt = new Date();
  #exits = NO_EXITS;
  #restartTimer: ReturnType<typeof setTimeout> | undefined;
  #ready = Promise.withResolvers<string>();
  #readyTimer: ReturnType<typeof setTimeout> | undefined;
  /** Why it is down, as long as that takes. */
  #failure: string | undefined;
  #desiredState: "up" | "drained" | "stopped" = "up";

  /** `recordWritten` is called with each line of its log. */
  constructor(program: Program, logger: Logger, recordWritten: (record: LogRecord) => void) {
    this.#program = program;
    this.#logger = logger.child({ process: program.id });
    this.#log = new LogFile(program.logFile);
    this.#recordWritten = recordWritten;
  }

  get id(): string {
    return this.#program.id;
  }

  /** Where it serves; undefined until it is ready for the first time. */
  get address(): string | undefined {
    return this.#address;
  }

  get status(): ProcessStatus {
    return {
      role: this.#program.role,
      id: this.#program.id,
      pid: this.#current?.pid ?? null,
      state: this.#state,
      connections: this.#current?.connections ?? 0,
      ...(this.#current?.counters === undefined ? {} : { counters: this.#current.counters }),
      restarts: Math.max(0, this.#runs - 1),
      since: this.#startedAt.toISOString(),
      ...(this.#failure === undefined ? {} : { reason: this.#failure }),
    };
  }

  get #state(): ProcessState {
    if (this.#current !== undefined) return this.#current.state;
    if (this.#desiredState === "stopped") return "stopped";
    if (this.#runs === 0) return "starting";
    return this.#failure === undefined ? "restarting" : "failed";
  }

  get role(): Role {
    return this.#program.role;
  }

  /** Whether its socket file is missing although it runs: nobody new can reach it. */
  get hasLostSocket(): boolean {
    const { socketFile } = this.#program;
    const isServing = this.#state === "up" || this.#state === "draining";
    if (socketFile === undefined || !isServing) return false;
    return this.#address === formatAddress({ unix: socketFile }) && !existsSync(socketFile);
  }

  /** Whether clients are to be kept from it. */
  get isDrained(): boolean {
    return this.#desiredState === "drained";
  }

  /** Whether this lb sends clients to the node; true where it does not say. */
  knows(node: string): boolean {
    const nodes = this.#current?.counters?.nodes;
    return nodes === undefined || nodes.some(({ id, health }) => id === node && health === "up");
  }

  /**
   * Starts it. Resolves to its address when it is ready; rejects with a Refusal. One that was ready
   * before is started again all the same.
   */
  async start(): Promise<string> {
    this.#ready = Promise.withResolvers<string>();
    const { readyMs } = this.#program;
    this.#readyTimer = setTimeout(
      () => this.#ready.reject(this.#refusalWithLog(`is not ready after ${readyMs / 1000} s`)),
      readyMs,
    );
    this.#startRun();
    try {
      return await this.#ready.promise;
    } finally {
      clearTimeout(this.#readyTimer);
    }
  }

  /** Stops it gracefully and starts it again. */
  async restart(): Promise<void> {
    this.#cancelRestart();
    await this.#terminateRun();
    this.#failure = undefined;
    if (this.#desiredState === "stopped") throw new Refusal(`${this.id} is being stopped.`);
    await this.start();
  }

  /** Stops it gracefully, for good. */
  async stop(): Promise<void> {
    this.#markStopped();
    await this.#terminateRun();
    this.#removeSocket();
    this.#log.close();
  }

  /**
   * Takes no new clients from now on, and stops for good when the last one has gone, or after
   * `timeoutMs`. Resolves then.
   */
  async retire(timeoutMs: number): Promise<void> {
    const deadlineMs = performance.now() + timeoutMs;
    await this.drain();
    this.#markStopped();
    await this.#untilEmpty(deadlineMs, RETIRING_POLL_MS);
    await this.stop();
  }

  /** Kills it, for good. */
  kill(): void {
    this.#markStopped();
    this.#current?.kill();
  }

  /**
   * Disconnects its clients; it accepts no new ones until `undrain`, even after a restart. Resolves
   * when it has answered.
   */
  async drain(): Promise<void> {
    this.#desiredState = "drained";
    this.#current?.sendOrder({ type: "drain" });
    await this.requestStatus(ANSWER_TIMEOUT_MS);
  }

  async undrain(): Promise<void> {
    this.#desiredState = "up";
    this.#current?.sendOrder({ type: "undrain" });
    await this.requestStatus(ANSWER_TIMEOUT_MS);
  }

  /** Drains it if it is up. Resolves when it has no clients, or after `timeoutMs`. */
  async drainAndWait(timeoutMs: number): Promise<void> {
    if (this.#state !== "up" && this.#state !== "draining") return;
    const deadlineMs = performance.now() + timeoutMs;
    await this.drain();
    await this.#untilEmpty(deadlineMs, DRAINING_POLL_MS);
  }

  async #untilEmpty(deadlineMs: number, pollMs: number): Promise<void> {
    while ((this.#current?.connections ?? 0) > 0 && performance.now() < deadlineMs) {
      await Bun.sleep(pollMs);
      await this.requestStatus(ANSWER_TIMEOUT_MS);
    }
  }

  /** Looks whether its log was deleted. */
  checkLog(): void {
    this.#log.check();
  }

  /** Refreshes `status`, if the process answers within `timeoutMs`. */
  async requestStatus(timeoutMs: number): Promise<void> {
    await this.#current?.requestStatus(timeoutMs);
  }

  #markStopped(): void {
    this.#desiredState = "stopped";
    this.#cancelRestart();
    this.#ready.promise.catch(() => {});
    this.#ready.reject(new Refusal(`${this.id} is being stopped.`));
  }

  async #terminateRun(): Promise<void> {
    await this.#current?.terminate(this.#program.graceMs);
  }

  #cancelRestart(): void {
    clearTimeout(this.#restartTimer);
    this.#restartTimer = undefined;
  }

  #removeSocket(): void {
    const { socketFile } = this.#program;
    if (socketFile !== undefined) rmSync(socketFile, { force: true });
  }

  #startRun(): void {
    this.#runs++;
    this.#startedAt = new Date();
    this.#cancelRestart();
    try {
      this.#removeSocket();
      const { role, id, command } = this.#program;
      const environment = { ...ENVIRONMENTS[role], ...process.env };
      this.#current = new ProcessRun(command(), environment, {
        onProgress: () => void this.#readyTimer?.refresh(),
        onReady: (address) => this.#onReady(address),
        onLine: (stream, line) => {
          const record = logRecord(line, { role, id, stream }, new Date().toISOString());
          this.#log.append(record.line);
          this.#recordWritten(record);
        },
        onExit: (exit) => this.#onExit(exit),
      });
    } catch (error) {
      this.#onExit({
        how: error instanceof Error ? error.message : String(error),
        livedMs: 0,
        servedMs: 0,
        wasTold: false,
        fatal: undefined,
      });
    }
  }

  #onReady(address: string): void {
    this.#address = address;
    if (this.#failure !== undefined) this.#logger.info("it is back");
    this.#failure = undefined;
    // The startup banner shows the first start.
    const level = this.#runs === 1 ? "debug" : "info";
    this.#logger[level]({ pid: this.#current?.pid, address }, "ready");
    if (this.#desiredState === "drained") this.#current?.sendOrder({ type: "drain" });
    this.#ready.resolve(address);
  }

  #onExit(exit: Exit): void {
    this.#current = undefined;
    if (exit.wasTold || this.#desiredState === "stopped") return;
    const { how, fatal, servedMs } = exit;
    if (this.#address === undefined)
      return this.#ready.reject(
        fatal === undefined
          ? this.#refusalWithLog(`exited (${how}) before it was ready`)
          : new Refusal(fatal),
      );
    const kind = { servedMs, isRefusal: fatal !== undefined };
    const { exits, delayMs, isCrashLoop } = afterExit(this.#exits, performance.now(), kind);
    this.#exits = exits;
    this.#restartTimer = setTimeout(() => this.#startRun(), delayMs);
    if (isCrashLoop) this.#crashLooped(exit, delayMs);
    else if (fatal !== undefined) this.#cannotStart(fatal);
    else
      this.#logger.warn(
        { how, livedMs: Math.round(exit.livedMs), delayMs },
        "exited, to be restarted",
      );
  }

  #crashLooped({ how }: Exit, delayMs: number): void {
    const { id, logFile } = this.#program;
    const times = `more than ${EXITS_MAX} times in ${CRASH_WINDOW_MS / 1000} s`;
    const sentence = `${id} exits again and again (${times}), last: ${how}`;
    this.#failure = `${sentence}; its log is ${logFile}.`;
    this.#logger.error({ delayMs, logFile, last: lastLines(logFile, 1) }, sentence);
    this.#ready.reject(this.#refusalWithLog(`exits again and again (${times}), last: ${how}`));
  }

  /** Tries again every two seconds at most, and says so once for each reason. */
  #cannotStart(fatal: string): void {
    const sentence = `${this.id} cannot start and will try again: ${fatal}`.slice(0, 1000);
    const level = this.#failure === sentence ? "debug" : "error";
    this.#failure = sentence;
    this.#logger[level](sentence);
    this.#ready.reject(new Refusal(fatal));
  }

  /** A sentence about this process, with the last lines of its log. */
  #refusalWithLog(what: string): Refusal {
    const { id, logFile } = this.#program;
    const lines = lastLines(logFile, LOG_LINES_SHOWN);
    return new Refusal(`${id} ${what}${lines === "" ? "." : `; its last lines:\n${lines}`}`);
  }
}
