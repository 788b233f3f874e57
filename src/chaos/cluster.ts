// The cluster under test: starts it as an operator does, on its own data folder, and reads its
// processes from the admin socket.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { integer, list, nullable, object, oneOf, type Shaped, text } from "../wire/shape.ts";

const PROGRAM = join(import.meta.dirname, "../cluster/main.ts");
const APP = join(import.meta.dirname, "app.ts");
const START_MS = 30_000;
const STOP_MS = 20_000;
const GONE_MS = 15_000;
const POLL_MS = 20;

const role = oneOf("relay", "node", "lb");
export type Role = Shaped<typeof role>;
const processShape = object({
  role,
  id: text(1, 64),
  pid: nullable(integer(0, Number.MAX_SAFE_INTEGER)),
});
export type ClusterProcess = Shaped<typeof processShape>;
const statusShape = object({
  address: nullable(text(1, 255)),
  processes: list(processShape, 1000),
});

export type ClusterOptions = {
  readonly nodes: number;
  readonly relays: number;
  readonly lbs: number;
};

export class Cluster {
  readonly #options: ClusterOptions;
  readonly #folder = mkdtempSync(join(tmpdir(), "tutti-chaos-"));
  #supervisor: Bun.Subprocess<"ignore", "pipe", "pipe"> | undefined;
  #address = "";

  constructor(options: ClusterOptions) {
    this.#options = options;
    process.on("exit", () => this.#killOnExit());
  }

  /** Where clients connect; restarts do not change it. */
  get address(): string {
    return this.#address;
  }

  /** Resolves when the cluster is up. Throws with its error output if it does not start. */
  async start(): Promise<void> {
    const { nodes, relays, lbs } = this.#options;
    const port = this.#address === "" ? "0" : this.#address.split(":")[1];
    const flags = [
      "--data",
      join(this.#folder, "data"),
      "--app",
      APP,
      "--port",
      port,
      "--nodes",
      String(nodes),
    ];
    const more = ["--relays", String(relays), "--lb-workers", String(lbs), "--log-level", "warn"];
    const settings = Object.entries(process.env).filter(([name]) => !name.startsWith("TUTTI_"));
    // --no-orphans: the cluster ends even if this process is killed.
    const supervisor = Bun.spawn(
      [process.execPath, "--no-orphans", PROGRAM, "start", ...flags, ...more],
      {
        cwd: this.#folder,
        env: Object.fromEntries(settings),
        stdin: "ignore",
        stdout: "pipe",
        stderr: "pipe",
      },
    );
    this.#supervisor = supervisor;
    const complaint = new Response(supervisor.stderr).text();
    const screen = untilUp(supervisor.stdout);
    if (!(await within(START_MS, screen))) {
      supervisor.kill("SIGKILL");
      throw new Error(`The cluster did not start:\n${await complaint}`);
    }
    this.#address = (await this.#status()).address ?? this.#address;
  }

  /** The processes that are running now. */
  async processes(): Promise<{ role: Role; id: string; pid: number }[]> {
    const { processes } = await this.#status();
    return processes.flatMap(({ role, id, pid }) => (pid === null ? [] : [{ role, id, pid }]));
  }

  /**
   * Stops the cluster in order, or kills the supervisor, which ends the other processes too.
   * Resolves when all processes have ended.
   */
  async stop(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    const supervisor = this.#supervisor;
    if (supervisor === undefined) return;
    const pids =
      signal === "SIGKILL" ? (await this.processes().catch(() => [])).map(({ pid }) => pid) : [];
    supervisor.kill(signal);
    if (
      !(await within(
        STOP_MS,
        supervisor.exited.then(() => true),
      ))
    )
      supervisor.kill("SIGKILL");
    await supervisor.exited;
    this.#supervisor = undefined;
    const deadlineMs = performance.now() + GONE_MS;
    while (pids.some(isRunning) && performance.now() < deadlineMs) await Bun.sleep(POLL_MS);
  }

  /** Stops the cluster and removes its folder. */
  async remove(): Promise<void> {
    await this.stop("SIGTERM");
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** This process exits before `remove`, by Ctrl-C or a bug. */
  #killOnExit(): void {
    this.#supervisor?.kill("SIGKILL");
    rmSync(this.#folder, { recursive: true, force: true, maxRetries: 10 });
  }

  async #status(): Promise<Shaped<typeof statusShape>> {
    const unix = join(this.#folder, "data", "admin.sock");
    const response = await fetch("http://cluster/status", {
      unix,
      signal: AbortSignal.timeout(5000),
    });
    return statusShape(await response.json(), "status");
  }
}

/**
 * Resolves to whether the cluster printed that it is up before it ended. Keeps reading, so that the
 * cluster never blocks on a full pipe.
 */
function untilUp(stdout: ReadableStream<Uint8Array>): Promise<boolean> {
  const up = Promise.withResolvers<boolean>();
  const read = async () => {
    const decoder = new TextDecoder();
    let screen = "";
    for await (const chunk of stdout) {
      if (screen.length < 100_000) screen += decoder.decode(chunk, { stream: true });
      if (screen.includes("tutti is up")) up.resolve(true);
    }
    up.resolve(false);
  };
  read().catch(() => up.resolve(false));
  return up.promise;
}

/** The promise's value, or false after `timeoutMs`. */
async function within(timeoutMs: number, promise: Promise<boolean>): Promise<boolean> {
  const timeout = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => timeout.resolve(false), timeoutMs);
  const result = await Promise.race([promise, timeout.promise]);
  clearTimeout(timer);
  return result;
}

/** Whether a process is running; a zombie is not. */
function isRunning(pid: number): boolean {
  try {
    return !/\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "utf8"));
  } catch {
    return false;
  }
}
