// The exclusive lock on a data folder. The kernel releases it when the process dies. It holds while
// the process is stopped, and between containers that share the folder.

import { Database } from "bun:sqlite";
import { closeSync, existsSync, openSync, rmSync, statSync } from "node:fs";

export type Lock = {
  /** Releases the lock and removes its file. */
  release(): void;
};

/**
 * Takes the lock for the lifetime of this process; undefined when another process holds it. Throws
 * when the file cannot be created. Nothing else in this process may open the file: closing any
 * descriptor of it would release the lock (fcntl(2)).
 */
export function lockFile(path: string): Lock | undefined {
  for (;;) {
    if (!existsSync(path)) closeSync(openSync(path, "a", 0o600));
    const inode = inodeOf(path);
    const database = new Database(path);
    if (!tryLock(database)) {
      database.close();
      return undefined;
    }
    // The last owner may have removed the file while we opened it, and a lock on a removed file
    // excludes nobody.
    if (inode !== undefined && inode === inodeOf(path)) return heldLock(path, database);
    database.close();
  }
}

/** Removes the file before it releases the lock, so that nobody can lock it in between. */
const heldLock = (path: string, database: Database): Lock => ({
  release: () => {
    rmSync(path, { force: true });
    database.close();
  },
});

function tryLock(database: Database): boolean {
  try {
    // No journal file: nothing is written, so the lock can be taken on a full disk.
    database.run("PRAGMA journal_mode = MEMORY");
    database.run("BEGIN EXCLUSIVE");
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "SQLITE_BUSY") return false;
    throw error;
  }
}

function inodeOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.ino;
}
