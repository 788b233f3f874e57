// Starts and stops the programs under test and the load generators. Kills those that still run when
// the benchmark exits.

import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Shape } from "../src/wire/shape.ts";
import type { Figures } from "./measure.ts";

export const PEERS = join(import.meta.dir, "peers");
const READY_TIMEOUT_MS = 20_000;

const running = new Set<Bun.Subprocess>();
const folders = new Set<string>();

process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});
for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => process.exit(1));

/** An empty folder, removed when the benchmark ends. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "tutti-bench-"));
  folders.add(folder);
  return folder;
}

export async function freePort(): Promise<number> {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = listener;
  listener.stop(true);
  return port;
}

export type Program = { readonly pid: number; stop(): Promise<void> };

function keep(child: Bun.Subprocess): Program {
  running.add(child);
  child.exited.then(() => running.delete(child));
  return {
    pid: child.pid,
    stop: async () => {
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), 8000);
      await child.exited;
      clearTimeout(timer);
    },
  };
}

/** Starts a program and waits until it listens on the TCP port. */
export async function startOnPort(argv: string[], port: number, env = {}): Promise<Program> {
  const child = Bun.spawn(argv, {
    stdin: "ignore",
    stdout: "ignore",
    stderr: "ignore",
    env: { ...process.env, ...env },
  });
  const program = keep(child);
  const deadline = performance.now() + READY_TIMEOUT_MS;
  while (!(await listens(port))) {
    if (child.exitCode !== null || performance.now() > deadline)
      throw new Error(`${argv[0]} does not listen: ${argv.join(" ")}`);
    await Bun.sleep(20);
  }
  return program;
}

const listens = (port: number): Promise<boolean> =>
  Bun.connect({ hostname: "127.0.0.1", port, socket: { data() {} } }).then(
    (socket) => {
      socket.terminate();
      return true;
    },
    () => false,
  );

/** Starts a program and waits until its output matches `words`; resolves to the match too. */
export async function startOnWords(
  argv: string[],
  words: RegExp,
  env = {},
  stderr: "inherit" | "ignore" = "inherit",
): Promise<Program & { readonly words: RegExpExecArray }> {
  const child = Bun.spawn(argv, {
    stdin: "ignore",
    stdout: "pipe",
    stderr,
    env: { ...process.env, ...env },
  });
  const program = keep(child);
  const found = Promise.withResolvers<RegExpExecArray>();
  const read = async () => {
    let text = "";
    for await (const chunk of child.stdout) {
      text = (text + new TextDecoder().decode(chunk)).slice(-10_000);
      const match = words.exec(text);
      if (match !== null) found.resolve(match);
    }
    found.reject(new Error(`${argv.join(" ")} ended without saying ${words}: ${text}`));
  };
  read().catch(found.reject);
  return { ...program, words: await found.promise };
}

/** The version that a command prints; undefined if it is not installed. */
export function versionOf(command: string, flag = "--version"): string | undefined {
  if (Bun.which(command) === null) return undefined;
  const { stdout, stderr } = Bun.spawnSync([command, flag]);
  return /\d+\.\d+[.\d]*/.exec(`${stdout}${stderr}`)?.[0] ?? "?";
}

/** The version of a peer's npm package; undefined if it is not installed. */
export async function peerVersion(name: string): Promise<string | undefined> {
  const file = join(PEERS, "node_modules", name, "package.json");
  if (!existsSync(file) || Bun.which("node") === null) return undefined;
  return String((await Bun.file(file).json()).version);
}

const figure: Shape<number> = (value, field) => {
  if (typeof value === "number") return value;
  throw new Error(`a load generator answered ${JSON.stringify(value)} for ${field}`);
};

/**
 * A load generator: a program of bench/load in its own process, which runs one task at a time and
 * answers with figures.
 */
export class Load {
  readonly #child: Bun.Subprocess;
  readonly #program: Program;
  #answer = Promise.withResolvers<Record<string, unknown>>();

  constructor(script: string) {
    this.#child = Bun.spawn(
      [process.execPath, "--no-orphans", join(import.meta.dir, "load", script)],
      {
        stdin: "ignore",
        stdout: "inherit",
        stderr: "inherit",
        ipc: (message) => this.#answer.resolve(message),
        onExit: () => this.#answer.reject(new Error(`${script} ended`)),
      },
    );
    this.#answer.promise.catch(() => {});
    this.#program = keep(this.#child);
  }

  get pid(): number {
    return this.#program.pid;
  }

  /** Runs a task in the load generator; resolves to the figures in its answer. */
  async ask(task: object): Promise<Figures> {
    this.#answer = Promise.withResolvers();
    this.#child.send(task);
    const answer = await this.#answer.promise;
    if (typeof answer.error === "string") throw new Error(answer.error);
    return Object.fromEntries(
      Object.entries(answer).map(([name, value]) => [name, figure(value, name)]),
    );
  }

  async stop(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }
}
