// One process of the cluster over all its incarnations: it is started, and started again when it
// dies, until it is stopped for good or dies too often. What it is for is the supervisor's
// business.

import { rmSync } from "node:fs";
import type { Logger } from "../runtime/log.ts";
import { lastLines } from "./log-file.ts";
import { type Environment, type Exit, ProcessRun } from "./process-run.ts";
import { Refusal } from "./refusal.ts";
import { afterExit, CRASH_WINDOW_MS, EXITS_MAX, NO_EXITS } from "./restart-policy.ts";
import type { ProcessState, ProcessStatus, Role } from "./status.ts";

/**
 * A relay and a node keep freed pages for reuse: giving them back and faulting them in again costs
 * a relay up to half of its CPU, a node a sixth, and saves a few MB. An lb has no more of them than
 * it has tunnels. The operator's environment wins.
 */
const KEEPS_PAGES: Environment = { MIMALLOC_PURGE_DELAY: "-1" };
const ENVIRONMENTS: Readonly<Record<Role, Environment>> = {
  relay: KEEPS_PAGES,
  node: KEEPS_PAGES,
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
  /** The socket it listens on, where that is a file: a killed process leaves it behind. */
  readonly socketFile?: string;
  /** How long it may take to finish when it is told to stop. */
  readonly graceMs: number;
  /**
   * Script and flags. Asked at every start, for addresses become known only as processes get ready.
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
  /**
   * Someone waits for this start: when the process says that it cannot, they are told and it is not
   * tried again.
   */
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

  /** Where it serves, once it has been ready. */
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

  /** Starts it. Resolves to its address when it is ready; a Refusal says why it cannot start. */
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

  /** Finishes it in order and starts it again. */
  async restart(): Promise<void> {
    this.#cancelRestart();
    await this.#terminateRun();
    if (this.#desiredState === "stopped") throw new Refusal(`${this.id} is being stopped.`);
    await this.start();
  }

  /** Finishes it for good. */
  async stop(): Promise<void> {
    this.#markStopped();
    await this.#terminateRun();
    this.#removeSocket();
  }

  /** Ends it for good, at once. */
  kill(): void {
    this.#markStopped();
    this.#current?.kill();
  }

  /**
   * Sends its clients away; it takes no new ones, whatever becomes of it, until `undrain`. Resolves
   * when it has heard.
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

  /** Drains it, if it is up; resolves when its clients are gone, or after `timeoutMs`. */
  async drainAndWait(timeoutMs: number): Promise<void> {
    if (this.#state !== "up" && this.#state !== "draining") return;
    const deadline = performance.now() + timeoutMs;
    await this.drain();
    while (this.status.connections > 0 && performance.now() < deadline) {
      await Bun.sleep(EMPTY_POLL_MS);
      await this.requestStatus(ANSWER_TIMEOUT_MS);
    }
  }

  /** Brings `status` up to date, as far as it answers within `timeoutMs`. */
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
        onExit: (death) => this.#onExit(death),
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
    // The screen tells of the first start.
    const level = this.#runs === 1 ? "debug" : "info";
    this.#logger[level]({ pid: this.#current?.pid, address }, "ready");
    if (this.#desiredState === "drained") this.#current?.sendOrder({ type: "drain" });
    this.#ready.resolve(address);
  }

  #onExit(death: Exit): void {
    this.#current = undefined;
    if (death.wasTold) return;
    if (this.#address === undefined || (this.#isStartAwaited && death.fatal !== undefined)) {
      this.#ready.reject(
        death.fatal === undefined
          ? this.#refusalWithLog(`ended (${death.how}) before it was ready`)
          : new Refusal(death.fatal),
      );
      return;
    }
    const { deaths, delayMs } = afterExit(this.#exits, performance.now(), death.servedMs);
    this.#exits = deaths;
    if (delayMs === undefined) return this.#giveUp(death);
    const { how, fatal } = death;
    this.#logger.warn(
      { how, livedMs: Math.round(death.livedMs), fatal, delayMs },
      "died, to be restarted",
    );
    this.#restartTimer = setTimeout(() => this.#startRun(), delayMs);
  }

  #giveUp(death: Exit): void {
    const often = `died more than ${EXITS_MAX} times in ${CRASH_WINDOW_MS / 1000} s, last by ${death.how}`;
    const refusal = this.#refusalWithLog(often);
    if (this.#isStartAwaited) this.#ready.reject(refusal);
    this.#onCrashLoop(refusal.message);
  }

  /** A sentence about this process, with the end of its log, where the reason usually stands. */
  #refusalWithLog(what: string): Refusal {
    const { id, logFile } = this.#program;
    const lines = lastLines(logFile, LOG_LINES_SHOWN);
    return new Refusal(
      `${id} ${what}; its log is ${logFile}${lines === "" ? "." : `, and ends so:\n${lines}`}`,
    );
  }
}
