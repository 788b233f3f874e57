// The data folder of a cluster: the paths in it, its lock, and its cleanup.

import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join, resolve } from "node:path";
import { unixPath } from "../../runtime/arguments";
import { type Lock, lockFile } from "../../runtime/lock";
import { quoted } from "./quoted";
import { Refusal } from "./refusal";

/** Ids grow as nodes are replaced; a socket's path has to hold them. */
const LONGEST_ID = "node-999999";

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
  #lock: Lock;
  readonly #isNew: boolean;
  #secret = "";
  #isKept = false;

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
    if (!isNew) refuseForeign(path);
    const { pidFile, lockPath, nodeSocket } = layout(path);
    try {
      unixPath(nodeSocket(LONGEST_ID), "--data");
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
    const { secretFile } = this.layout;
    try {
      this.#clear();
      this.#makeFolders();
      if (!existsSync(secretFile))
        this.#writeSecret(`${crypto.getRandomValues(new Uint8Array(32)).toHex()}\n`);
      refuseForeignSecret(secretFile);
      this.#secret = readFileSync(secretFile, "utf8");
    } catch (error) {
      throw error instanceof Refusal ? error : unusable(this.path, error);
    }
  }

  /** The cluster is up: what it made stays when it ends. */
  keep(): void {
    this.#isKept = true;
  }

  /** What was deleted of that which the running cluster needs; to be looked at now and then. */
  missing(): string[] {
    const { adminSocket, secretFile, lockPath, runFolder, logFolder, pidFile } = this.layout;
    return [this.path, runFolder, logFolder, secretFile, adminSocket, lockPath, pidFile].filter(
      (path) => !existsSync(path),
    );
  }

  /** Makes it anew, but for the sockets. Throws a Refusal where it cannot. */
  restore(): void {
    try {
      this.#makeFolders();
      const { secretFile, lockPath } = this.layout;
      if (!existsSync(secretFile)) this.#writeSecret(this.#secret);
      // A lock on a file that was removed excludes nobody.
      if (!existsSync(lockPath)) this.#lock = lockFile(lockPath) ?? this.#lock;
    } catch (error) {
      throw unusable(this.path, error);
    }
  }

  /**
   * Removes sockets, pid file and lock, and all that was made here for a cluster that never was up.
   */
  release(): void {
    this.#clear();
    if (this.#isNew && !this.#isKept) this.#removeTraces();
    this.#lock.release();
    if (this.#isNew) removeIfEmpty(this.path);
  }

  #removeTraces(): void {
    const { secretFile, logFolder } = this.layout;
    const relays = existsSync(this.path)
      ? readdirSync(this.path).filter((name) => /^relay-\d+$/.test(name))
      : [];
    for (const trace of [secretFile, logFolder, ...relays.map((id) => join(this.path, id))])
      rmSync(trace, { recursive: true, force: true });
  }

  #makeFolders(): void {
    const { pidFile, runFolder, logFolder } = this.layout;
    for (const folder of [this.path, runFolder, logFolder])
      mkdirSync(folder, { recursive: true, mode: 0o700 });
    if (!existsSync(pidFile)) writeFileSync(pidFile, `${process.pid}\n`, { mode: 0o600 });
  }

  /** Atomically: the cluster secret outlives the cluster. */
  #writeSecret(secret: string): void {
    const { secretFile, secretDraft } = this.layout;
    writeFileSync(secretDraft, secret, { mode: 0o600 });
    renameSync(secretDraft, secretFile);
  }

  #clear(): void {
    const { runFolder, adminSocket, secretDraft, pidFile } = this.layout;
    for (const left of [runFolder, adminSocket, secretDraft, pidFile])
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

const octal = (mode: number): string => (mode & 0o777).toString(8).padStart(4, "0");
/** The user that this process runs as; undefined where the system has none. */
const ownUser = (): number | undefined => process.getuid?.();

/**
 * Refuses a folder that another user may have filled, or may fill: a secret planted there is no
 * secret. One that is empty, or that others may only read, becomes the owner's alone.
 */
function refuseForeign(path: string): void {
  const { uid, mode } = statSync(path);
  if (ownUser() !== undefined && uid !== ownUser())
    throw new Refusal(
      `The data folder ${path} belongs to another user (uid ${uid}): ` +
        "run as that user, or choose another with --data.",
    );
  if ((mode & 0o022) !== 0 && readdirSync(path).length > 0)
    throw new Refusal(
      `The data folder ${path} can be written by others (mode ${octal(mode)}): check what is in ` +
        `it, then "chmod 700 ${quoted(path)}", or choose another with --data.`,
    );
  if ((mode & 0o077) !== 0) chmodSync(path, 0o700);
}

/** Refuses a secret that others may know or have written. */
function refuseForeignSecret(path: string): void {
  const found = lstatSync(path);
  const wrong = !found.isFile()
    ? "is no file"
    : ownUser() !== undefined && found.uid !== ownUser()
      ? `belongs to another user (uid ${found.uid})`
      : (found.mode & 0o077) !== 0
        ? `is open to others (mode ${octal(found.mode)})`
        : undefined;
  if (wrong === undefined) return;
  throw new Refusal(
    `The cluster secret ${path} ${wrong}: remove it for a new one, ` +
      `or "chmod 600 ${quoted(path)}" if nobody has seen it.`,
  );
}

function occupied(path: string, pidFile: string): string {
  const pid = readPid(pidFile);
  const who = pid === undefined ? "" : ` (pid ${pid})`;
  return (
    `Another cluster is already running on ${path}${who}: stop it with ` +
    `"bun run cluster stop --data ${quoted(path)}", or choose another folder with --data.`
  );
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
    `The data folder ${path} cannot be used (${reason}): make sure that it is writable and has ` +
      "free space, or choose another with --data.",
  );
}

function removeIfEmpty(path: string): void {
  try {
    rmdirSync(path);
  } catch {
    // It is not empty: then it stays.
  }
}
