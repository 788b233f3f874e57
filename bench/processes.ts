// Starts and ends the programs under test and the load generators. Nothing outlives the benchmark:
// what is still running when it exits is killed.

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

/** Starts a program that is ready once something listens on that TCP port. */
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

/**
 * Starts a program that is ready once it has printed what `words` matches; also tells what it
 * printed. `stderr`: where it complains.
 */
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

/** The version that a command prints of itself; undefined where it is not installed. */
export function versionOf(command: string, flag = "--version"): string | undefined {
  if (Bun.which(command) === null) return undefined;
  const { stdout, stderr } = Bun.spawnSync([command, flag]);
  return /\d+\.\d+[.\d]*/.exec(`${stdout}${stderr}`)?.[0] ?? "?";
}

/** The version of an npm package of the peers; undefined where it is not installed. */
export async function peerVersion(name: string): Promise<string | undefined> {
  const file = join(PEERS, "node_modules", name, "package.json");
  if (!existsSync(file) || Bun.which("node") === null) return undefined;
  return String((await Bun.file(file).json()).version);
}

const figure: Shape<number> = (value, field) => {
  if (typeof value === "number") return value;
  throw new Error(`a load generator said ${JSON.stringify(value)} for ${field}`);
};

/**
 * A load generator: a program of bench/load in its own process, which does one thing at a time and
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

  /** Has the load generator do something; resolves with the figures that it answers. */
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
