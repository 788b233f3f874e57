// Starts a real cluster for a test, in a folder of its own and on a port that the system chooses,
// and ends it with the test.

import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AdminClient } from "../../src/cluster/admin/admin-client.ts";
import { layout } from "../../src/cluster/files/data-folder.ts";
import type { ClusterStatus, ProcessStatus } from "../../src/cluster/report/status.ts";
import { eventually } from "../eventually.ts";

const MAIN = join(import.meta.dirname, "../../src/cluster/main.ts");
const STAND_INS = join(import.meta.dirname, "stand-ins/cluster.ts");
const STOP_TIMEOUT_MS = 25_000;

export type ClusterOptions = {
  readonly nodes?: number;
  /** The app's file. */
  readonly app?: string;
  /** More flags of `cluster start`. */
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** An existing data folder to start on; it is not removed with the cluster. */
  readonly dataDir?: string;
  /**
   * Programs of test/cluster/stand-ins in place of relay, node and lb: what is tested is the
   * supervision alone.
   */
  readonly standIns?: readonly [relay: string, node: string, lb: string];
};

export type Ran = { readonly code: number; readonly out: string; readonly err: string };

export class Cluster implements AsyncDisposable {
  readonly dataDir: string;
  readonly #supervisor: Bun.Subprocess<"ignore", "pipe", "pipe">;
  readonly #out: Promise<void>;
  readonly #err: Promise<string>;
  readonly #folderToRemove: string | undefined;
  readonly #up = Promise.withResolvers<void>();
  #screen = "";
  #address = "";

  constructor(options: ClusterOptions) {
    const folder =
      options.dataDir === undefined ? mkdtempSync(join(tmpdir(), "tutti-")) : undefined;
    this.#folderToRemove = folder;
    this.dataDir = options.dataDir ?? join(folder ?? "", "data");
    const { nodes = 2, app, args = [], standIns } = options;
    const flags = ["--data", this.dataDir, "--port", "0", "--nodes", String(nodes)];
    if (app !== undefined) flags.push("--app", app);
    const program = standIns === undefined ? [MAIN, "start"] : [STAND_INS, ...standIns];
    // --no-orphans: the cluster ends even if the test is killed.
    this.#supervisor = Bun.spawn(
      [process.execPath, "--no-orphans", ...program, ...flags, ...args],
      {
        // As if typed by hand, whoever runs the tests.
        env: { ...process.env, npm_config_user_agent: "", ...options.env },
        stdin: "ignore",
        stdout: "pipe",
        stderr: "pipe",
      },
    );
    this.#err = new Response(this.#supervisor.stderr).text();
    this.#out = this.#readScreen();
  }

  /** Where clients connect: "127.0.0.1:8080". */
  get address(): string {
    return this.#address;
  }

  /** The supervisor's. */
  get pid(): number {
    return this.#supervisor.pid;
  }

  /** All that it has printed so far. */
  get screen(): string {
    return this.#screen;
  }

  /** Resolves when it is up; throws with what it has printed when it ends before. */
  async ready(): Promise<void> {
    await Promise.race([this.#up.promise, this.#out]);
    if (!this.#isUp()) {
      const { code, err } = await this.ended();
      throw new Error(`The cluster ended (${code}) before it was up:\n${err}`);
    }
    this.#address = (await this.status()).address ?? "";
  }

  /** Resolves when it can be asked, though it may not be up yet. */
  async listening(): Promise<void> {
    await eventually(() => existsSync(layout(this.dataDir).adminSocket));
  }

  status(): Promise<ClusterStatus> {
    return new AdminClient(this.dataDir).status();
  }

  /** One process as `status` shows it. */
  async process(id: string): Promise<ProcessStatus> {
    const found = (await this.status()).processes.find((process) => process.id === id);
    if (found === undefined) throw new Error(`The cluster has no ${id}.`);
    return found;
  }

  /** Sends a signal to a process of the cluster; resolves to its pid. */
  async kill(id: string, signal: NodeJS.Signals = "SIGKILL"): Promise<number> {
    const { pid } = await this.process(id);
    if (pid === null) throw new Error(`${id} has no process to kill.`);
    process.kill(pid, signal);
    return pid;
  }

  /** Resolves to the process when it satisfies the condition. */
  async until(
    id: string,
    condition: (process: ProcessStatus) => boolean,
    timeoutMs = 15_000,
  ): Promise<ProcessStatus> {
    return await eventually(() => this.process(id), condition, { withinMs: timeoutMs, what: id });
  }

  /** Runs `cluster …words` on this cluster. */
  run(...words: string[]): Promise<Ran> {
    return runCommand([...words, "--data", this.dataDir]);
  }

  /** A signal to the supervisor itself. */
  signal(signal: NodeJS.Signals): void {
    this.#supervisor.kill(signal);
  }

  /**
   * Resolves when the supervisor has ended, to what it left: its exit code and all it has printed.
   */
  async ended(): Promise<Ran> {
    await this.#supervisor.exited;
    await this.#out;
    return { code: this.#supervisor.exitCode ?? -1, out: this.#screen, err: await this.#err };
  }

  /** Stops it in order. */
  async stop(): Promise<Ran> {
    this.#supervisor.kill("SIGTERM");
    const timer = setTimeout(() => this.#supervisor.kill("SIGKILL"), STOP_TIMEOUT_MS);
    const ran = await this.ended();
    clearTimeout(timer);
    return ran;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    if (this.#folderToRemove !== undefined)
      rmSync(this.#folderToRemove, { recursive: true, force: true });
  }

  #isUp(): boolean {
    return this.#screen.includes("tutti is up");
  }

  async #readScreen(): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of this.#supervisor.stdout) {
      this.#screen += decoder.decode(chunk, { stream: true });
      if (this.#isUp()) this.#up.resolve();
    }
  }
}

/** A cluster that is up. `await using cluster = await startCluster({ nodes: 2 })`. */
export async function startCluster(options: ClusterOptions = {}): Promise<Cluster> {
  const cluster = new Cluster(options);
  try {
    await cluster.ready();
  } catch (error) {
    await cluster[Symbol.asyncDispose]();
    throw error;
  }
  return cluster;
}

/** Runs `cluster …words` to its end. */
export async function runCommand(
  words: readonly string[],
  options: { cwd?: string; env?: object } = {},
): Promise<Ran> {
  const child = Bun.spawn([process.execPath, "--no-orphans", MAIN, ...words], {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  return { code: await child.exited, out, err };
}

/** A folder that goes with the test: `await using folder = await temporaryFolder()`. */
export async function temporaryFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), "tutti-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/** Whether a process runs; one that has ended and that nobody has waited for does not. */
export function isRunning(pid: number): boolean {
  const stat = `/proc/${pid}/stat`;
  return existsSync(stat) && !/\) [ZX] /.test(readFileSync(stat, "utf8"));
}

/** Resolves when none of the processes runs. */
export async function untilGone(pids: readonly number[], timeoutMs = 10_000): Promise<void> {
  const isNone = (left: readonly number[]) => left.length === 0;
  await eventually(() => pids.filter(isRunning), isNone, {
    withinMs: timeoutMs,
    what: "what still runs",
  });
}
