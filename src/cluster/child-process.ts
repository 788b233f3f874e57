// One process of the cluster over all its runs: started, and restarted when it exits, until it is
// stopped or exits too often.

import { rmSync } from "node:fs";
import type { Logger } from "../runtime/log.ts";
import { lastLines } from "./log-file.ts";
import { type Environment, type Exit, ProcessRun } from "./process-run.ts";
import { Refusal } from "./refusal.ts";
import type { ProcessState, ProcessStatus, Role } from "./status.ts";
import { afterExit, CRASH_WINDOW_MS, EXITS_MAX, NO_EXITS } from "./supervision-rules.ts";

/**
 * A relay keeps freed pages for reuse: returning them and faulting them in again costs it up to half
 * of its CPU, and its memory is bounded by its ring. A node returns them: clients that do not read
 * make it take far more for a moment than it needs. The operator's environment wins.
 */
const KEEPS_PAGES: Environment = { MIMALLOC_PURGE_DELAY: "-1" };
const ENVIRONMENTS: Readonly<Record<Role, Environment>> = {
  relay: KEEPS_PAGES,
  node: {},
  lb: {},
};

const READY_TIMEOUT_MS = 30_000;
const ANSWER_TIMEOUT_MS = 1000;
const EMPTY_POLL_MS = 50;
const LOG_LINES_SHOWN = 12;

/** What a process is and how to start it. */
export type Program = {
  readonly role: Role;
  readonly id: string;
  readonly logFile: string;
  /** Its unix socket, if any: a killed process leaves the file behind. */
  readonly socketFile?: string;
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
  readonly #onCrashLoop: (sentence: string) => void;
  #current: ProcessRun | undefined;
  #address: string | undefined;
  #runs = 0;
  #startedAt = new Date();
  #exits = NO_EXITS;
  #restartTimer: ReturnType<typeof setTimeout> | undefined;
  #ready = Promise.withResolvers<string>();
  /** Someone awaits this start: if it fails they are told, and it is not retried. */
  #isStartAwaited = false;
  #desiredState: "up" | "drained" | "stopped" = "up";

  constructor(program: Program, logger: Logger, onCrashLoop: (sentence: string) => void) {
    this.#program = program;
    this.#logger = logger.child({ process: program.id });
    this.#onCrashLoop = onCrashLoop;
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
    };
  }

  get #state(): ProcessState {
    if (this.#current !== undefined) return this.#current.state;
    if (this.#desiredState === "stopped") return "stopped";
    if (this.#runs === 0) return "starting";
    return this.#restartTimer === undefined ? "failed" : "restarting";
  }

  /** Starts it. Resolves to its address when it is ready; rejects with a Refusal. */
  async start(): Promise<string> {
    this.#isStartAwaited = true;
    this.#ready = Promise.withResolvers<string>();
    const timer = setTimeout(
      () => this.#ready.reject(this.#refusalWithLog("is not ready after 30 s")),
      READY_TIMEOUT_MS,
    );
    this.#startRun();
    try {
      return await this.#ready.promise;
    } finally {
      this.#isStartAwaited = false;
      clearTimeout(timer);
    }
  }

  /** Stops it gracefully and starts it again. */
  async restart(): Promise<void> {
    this.#cancelRestart();
    await this.#terminateRun();
    if (this.#desiredState === "stopped") throw new Refusal(`${this.id} is being stopped.`);
    await this.start();
  }

  /** Stops it gracefully, for good. */
  async stop(): Promise<void> {
    this.#markStopped();
    await this.#terminateRun();
    this.#removeSocket();
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
    const deadline = performance.now() + timeoutMs;
    await this.drain();
    while (this.status.connections > 0 && performance.now() < deadline) {
      await Bun.sleep(EMPTY_POLL_MS);
      await this.requestStatus(ANSWER_TIMEOUT_MS);
    }
  }

  /** Refreshes `status`, if the process answers within `timeoutMs`. */
  async requestStatus(timeoutMs: number): Promise<void> {
    await this.#current?.requestStatus(timeoutMs);
  }

  #markStopped(): void {
    this.#desiredState = "stopped";
    this.#cancelRestart();
    if (this.#isStartAwaited) this.#ready.reject(new Refusal(`${this.id} is being stopped.`));
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
      const { role, command, logFile } = this.#program;
      const environment = { ...ENVIRONMENTS[role], ...process.env };
      this.#current = new ProcessRun(command(), environment, logFile, {
        onReady: (address) => this.#onReady(address),
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
    // The startup banner shows the first start.
    const level = this.#runs === 1 ? "debug" : "info";
    this.#logger[level]({ pid: this.#current?.pid, address }, "ready");
    if (this.#desiredState === "drained") this.#current?.sendOrder({ type: "drain" });
    this.#ready.resolve(address);
  }

  #onExit(exit: Exit): void {
    this.#current = undefined;
    if (exit.wasTold) return;
    if (this.#address === undefined || (this.#isStartAwaited && exit.fatal !== undefined)) {
      this.#ready.reject(
        exit.fatal === undefined
          ? this.#refusalWithLog(`exited (${exit.how}) before it was ready`)
          : new Refusal(exit.fatal),
      );
      return;
    }
    const { exits, delayMs } = afterExit(this.#exits, performance.now(), exit.servedMs);
    this.#exits = exits;
    if (delayMs === undefined) return this.#giveUp(exit);
    const { how, fatal } = exit;
    this.#logger.warn(
      { how, livedMs: Math.round(exit.livedMs), fatal, delayMs },
      "exited, to be restarted",
    );
    this.#restartTimer = setTimeout(() => this.#startRun(), delayMs);
  }

  #giveUp(exit: Exit): void {
    const often = `exited more than ${EXITS_MAX} times in ${CRASH_WINDOW_MS / 1000} s, last: ${exit.how}`;
    const refusal = this.#refusalWithLog(often);
    if (this.#isStartAwaited) this.#ready.reject(refusal);
    this.#onCrashLoop(refusal.message);
  }

  /** A sentence about this process, with the last lines of its log. */
  #refusalWithLog(what: string): Refusal {
    const { id, logFile } = this.#program;
    const lines = lastLines(logFile, LOG_LINES_SHOWN);
    return new Refusal(
      `${id} ${what}; its log is ${logFile}${lines === "" ? "." : `; its last lines:\n${lines}`}`,
    );
  }
}
