// One run of a process: started, pinged every second, and killed when it is unresponsive.
// child-process.ts decides what follows it.

import type { Subprocess } from "bun";
import { type ChildStatus, type LbCounters, type Order, reportIn } from "../../runtime/child-ipc";
import { Malformed } from "../../wire/shape";
import { LineSplitter } from "../files/output";
import { PING_MS, Responsiveness } from "./supervision-rules";

export type Environment = Readonly<Record<string, string | undefined>>;

/**
 * How a process exited. `how`: exit code or signal. `servedMs`: how long it had been ready.
 * `wasTold`: after `terminate` or `kill`. `fatal`: the reason that it reported for not starting.
 */
export type Exit = {
  readonly how: string;
  readonly livedMs: number;
  readonly servedMs: number;
  readonly wasTold: boolean;
  readonly fatal: string | undefined;
};

export type ProcessRunEvents = {
  /** It starts, and is not done yet. */
  onProgress(): void;
  onReady(address: string): void;
  onLine(stream: "stdout" | "stderr", line: string): void;
  onExit(exit: Exit): void;
};

/** A grandchild may hold the output open after the exit. */
const LAST_LINES_MS = 200;

export class ProcessRun {
  readonly #startedAtMs = performance.now();
  readonly #child: Subprocess<"ignore", "pipe", "pipe">;
  readonly #output: Promise<unknown>;
  readonly #events: ProcessRunEvents;
  readonly #ticker = setInterval(() => this.#checkAndPing(), PING_MS);
  #phase: "starting" | "ready" | "ending" | "over" = "starting";
  #readyAtMs = Number.POSITIVE_INFINITY;
  #status: ChildStatus = { state: "starting", connections: 0 };
  #counters: LbCounters | undefined;
  #fatal: string | undefined;
  #isUnresponsive = false;
  readonly #responsiveness = new Responsiveness(this.#startedAtMs);
  #statusReceived = Promise.withResolvers<void>();
  readonly #exitHandled = Promise.withResolvers<void>();

  /** Starts `bun …command`. Throws when it cannot be started. */
  constructor(command: readonly string[], environment: Environment, events: ProcessRunEvents) {
    this.#events = events;
    try {
      this.#child = Bun.spawn([process.execPath, "--no-orphans", ...command], {
        stdin: "ignore",
        stdout: "pipe",
        stderr: "pipe",
        env: environment,
        // A session of its own: the terminal's Ctrl-C must reach the supervisor alone.
        detached: true,
        ipc: (message) => this.#messageReceived(message),
        onExit: () => void this.#exited(),
      });
    } catch (error) {
      clearInterval(this.#ticker);
      throw error;
    }
    const { stdout, stderr } = this.#child;
    this.#output = Promise.all([this.#read(stdout, "stdout"), this.#read(stderr, "stderr")]);
  }

  get pid(): number {
    return this.#child.pid;
  }

  get state(): ChildStatus["state"] | "stopping" {
    if (this.#phase === "starting") return "starting";
    return this.#phase === "ready" ? this.#status.state : "stopping";
  }

  get connections(): number {
    return this.#status.connections;
  }

  /** The counters last reported; undefined before the first report, and for all but lbs. */
  get counters(): LbCounters | undefined {
    return this.#counters;
  }

  sendOrder(order: Order): void {
    try {
      this.#child.send(order);
    } catch {
      // The process is gone: onExit follows. Or its IPC channel is: it will be unresponsive.
    }
  }

  /** Resolves when it has reported its status, or after `timeoutMs`. */
  async requestStatus(timeoutMs: number): Promise<void> {
    this.sendOrder({ type: "ping", counters: true });
    const timeout = Promise.withResolvers<void>();
    const timer = setTimeout(timeout.resolve, timeoutMs);
    await Promise.race([this.#statusReceived.promise, timeout.promise]);
    clearTimeout(timer);
  }

  /**
   * Sends SIGTERM, and SIGKILL after `graceMs`. Resolves when the process is gone and onExit has
   * returned.
   */
  async terminate(graceMs: number): Promise<void> {
    this.#phase = "ending";
    this.#child.kill("SIGTERM");
    const timer = setTimeout(() => this.kill(), graceMs);
    await this.#exitHandled.promise;
    clearTimeout(timer);
  }

  kill(): void {
    this.#phase = "ending";
    this.#child.kill("SIGKILL");
  }

  #messageReceived(message: unknown): void {
    if (this.#phase === "over") return;
    this.#responsiveness.messageReceived(performance.now());
    try {
      const report = reportIn(message);
      if (report?.type === "progress") {
        this.#events.onProgress();
      } else if (report?.type === "ready") {
        if (this.#phase === "starting") this.#phase = "ready";
        this.#readyAtMs = Math.min(this.#readyAtMs, performance.now());
        this.#responsiveness.becameReady();
        this.#events.onReady(report.address);
      } else if (report?.type === "status") {
        this.#status = report.status;
        this.#counters = report.status.counters ?? this.#counters;
        this.#statusReceived.resolve();
        this.#statusReceived = Promise.withResolvers();
      } else if (report?.type === "fatal") {
        this.#fatal = report.message;
      }
    } catch (error) {
      // An app may use process.send for messages of its own.
      if (!(error instanceof Malformed)) throw error;
    }
  }

  #checkAndPing(): void {
    if (this.#responsiveness.isUnresponsive(performance.now())) {
      this.#isUnresponsive = true;
      this.#child.kill("SIGKILL");
    } else {
      this.sendOrder({ type: "ping" });
    }
  }

  async #read(output: ReadableStream<Uint8Array>, stream: "stdout" | "stderr"): Promise<void> {
    const splitter = new LineSplitter();
    for await (const chunk of output)
      for (const line of splitter.push(chunk)) this.#events.onLine(stream, line);
    for (const line of splitter.end()) this.#events.onLine(stream, line);
  }

  async #exited(): Promise<void> {
    clearInterval(this.#ticker);
    const nowMs = performance.now();
    const late = Promise.withResolvers<void>();
    const timer = setTimeout(late.resolve, LAST_LINES_MS);
    await Promise.race([this.#output, late.promise]);
    clearTimeout(timer);
    const wasTold = this.#phase === "ending";
    this.#phase = "over";
    this.#statusReceived.resolve();
    this.#events.onExit({
      how: this.#isUnresponsive ? "killed: unresponsive" : this.#exitCause(),
      livedMs: nowMs - this.#startedAtMs,
      servedMs: Math.max(0, nowMs - this.#readyAtMs),
      wasTold,
      fatal: this.#fatal,
    });
    this.#exitHandled.resolve();
  }

  #exitCause(): string {
    const { signalCode, exitCode } = this.#child;
    return signalCode === null ? `exit code ${exitCode}` : String(signalCode);
  }
}
