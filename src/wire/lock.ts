// The lock that makes a second owner of a data folder impossible. The kernel drops it when the process dies, and it holds while the
// process is merely stopped, and between containers that share the folder.

import { Database } from "bun:sqlite";
import { mkdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";

export type Lock = {
  /** Lets go of the folder and removes the lock's file. */
  release(): void;
};

/** Takes the folder's lock, for as long as this process lives. Undefined: another process has it. Throws when the folder cannot be written. */
export function lockFolder(folder: string): Lock | undefined {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const path = join(folder, "lock.db");
  for (;;) {
    const database = new Database(path, { create: true });
    const file = inodeOf(path);
    if (!tryLock(database)) {
      database.close();
      return undefined;
    }
    // Its last owner may have removed the file while we opened it: a lock on a removed file excludes nobody.
    if (file !== undefined && inodeOf(path) === file) {
      return {
        release: () => {
          rmSync(path, { force: true });
          database.close();
        },
      };
    }
    database.close();
  }
}

function inodeOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.ino;
}

function tryLock(database: Database): boolean {
  try {
    database.run("PRAGMA locking_mode = EXCLUSIVE");
    database.run("PRAGMA journal_mode = MEMORY");
    database.run("BEGIN EXCLUSIVE");
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "SQLITE_BUSY") return false;
    throw error;
  }
}
