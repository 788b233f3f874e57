// The data folder of a cluster: the paths in it, its lock, and its cleanup.

import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join, resolve } from "node:path";
import { unixPath } from "../runtime/arguments.ts";
import { type Lock, lockFile } from "../runtime/lock.ts";
import { NODES_MAX } from "./config.ts";
import { Refusal } from "./refusal.ts";

/** The paths in a data folder. */
export const layout = (folder: string) => ({
  adminSocket: join(folder, "admin.sock"),
  pidFile: join(folder, "cluster.pid"),
  lockPath: join(folder, "lock.db"),
  secretFile: join(folder, "secret"),
  secretDraft: join(folder, "secret.new"),
  runFolder: join(folder, "run"),
  logFolder: join(folder, "logs"),
  nodeSocket: (id: string) => join(folder, "run", `${id}.sock`),
  logFile: (id: string) => join(folder, "logs", `${id}.log`),
  relayFolder: (id: string) => join(folder, id),
});
export type Layout = ReturnType<typeof layout>;

export class DataFolder {
  readonly path: string;
  readonly layout: Layout;
  readonly #lock: Lock;
  readonly #isNew: boolean;

  private constructor(path: string, lock: Lock, isNew: boolean) {
    this.path = path;
    this.layout = layout(path);
    this.#lock = lock;
    this.#isNew = isNew;
  }

  /**
   * Creates the folder if needed and locks it for this process; throws a Refusal when another
   * cluster holds it.
   */
  static claim(wanted: string): DataFolder {
    const isNew = !existsSync(wanted);
    const path = make(resolve(wanted));
    const { pidFile, lockPath, nodeSocket } = layout(path);
    try {
      unixPath(nodeSocket(`node-${NODES_MAX}`), "--data");
      const lock = lockFile(lockPath);
      if (lock === undefined) throw new Refusal(occupied(path, pidFile));
      return new DataFolder(path, lock, isNew);
    } catch (error) {
      if (isNew) removeIfEmpty(path);
      throw error instanceof Error && "code" in error ? unusable(path, error) : error;
    }
  }

  /** Creates what the processes need and removes what a killed cluster left. */
  prepare(): void {
    const { pidFile, runFolder, logFolder } = this.layout;
    try {
      this.#clear();
      writeFileSync(pidFile, `${process.pid}\n`, { mode: 0o600 });
      mkdirSync(runFolder, { mode: 0o700 });
      mkdirSync(logFolder, { recursive: true, mode: 0o700 });
      this.#keepSecret();
    } catch (error) {
      throw unusable(this.path, error);
    }
  }

  /**
   * Removes sockets, pid file and lock, and the folder if it was created here and is empty.
   */
  release(): void {
    this.#clear();
    rmSync(this.layout.pidFile, { force: true });
    this.#lock.release();
    if (this.#isNew) removeIfEmpty(this.path);
  }

  /**
   * Creates the cluster secret once, atomically: it must outlive the cluster.
   */
  #keepSecret(): void {
    const { secretFile, secretDraft } = this.layout;
    if (!existsSync(secretFile)) {
      const secret = crypto.getRandomValues(new Uint8Array(32)).toHex();
      writeFileSync(secretDraft, `${secret}\n`, { mode: 0o600 });
      renameSync(secretDraft, secretFile);
    }
    chmodSync(secretFile, 0o600);
  }

  #clear(): void {
    const { runFolder, adminSocket, secretDraft } = this.layout;
    for (const left of [runFolder, adminSocket, secretDraft])
      rmSync(left, { recursive: true, force: true });
  }
}

function make(path: string): string {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    return realpathSync(path);
  } catch (error) {
    throw unusable(path, error);
  }
}

function occupied(path: string, pidFile: string): string {
  const pid = readPid(pidFile);
  const who = pid === undefined ? "" : ` (pid ${pid})`;
  return `Another cluster is already running on ${path}${who}: stop it with "bun run cluster stop --data ${path}", or choose another folder with --data.`;
}

/** The pid of the supervisor that holds a folder, if any. */
export function readPid(pidFile: string): number | undefined {
  try {
    return Number.parseInt(readFileSync(pidFile, "utf8"), 10) || undefined;
  } catch {
    return undefined;
  }
}

function unusable(path: string, error: unknown): Refusal {
  const reason = error instanceof Error ? error.message : String(error);
  return new Refusal(
    `The data folder ${path} cannot be used (${reason}): make sure that it is writable and has free space, or choose another with --data.`,
  );
}

function removeIfEmpty(path: string): void {
  try {
    rmdirSync(path);
  } catch {
    // It is not empty: then it stays.
  }
}
