// Opens a relay's data folder: reads the journal that a predecessor left, or begins one.

import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Logger } from "../runtime/log.ts";
import { Journal } from "./journal.ts";
import { Producers, slotsFor } from "./producers.ts";
import { JOURNAL_VERSION } from "./records.ts";
import { replay } from "./replay.ts";
import { SEGMENT_BYTES, Segments } from "./segments.ts";
import { Store } from "./store.ts";

/** Segments that a journal may need beyond those found on disk. */
const SEGMENTS_TO_GROW = 8;

export type Recovered = {
  readonly store: Store;
  readonly lineage: string;
  /** Notes that the run ended in order. */
  close(): void;
};

export type RecoverOptions = {
  readonly folder: string;
  readonly memoryBytes: number;
  readonly isSynced: boolean;
  readonly nowMs: number;
  readonly log: Logger;
  readonly onFree: (segment: number) => void;
};

/** Throws when the folder cannot be read or written. */
export function recover(options: RecoverOptions): Recovered {
  const { folder, isSynced, nowMs, log } = options;
  const startedMs = performance.now();
  const journal = new Journal(folder, isSynced, log);
  const last = journal.lastRun();
  const bootId = currentBootId();
  const files = journal.list();
  const firstContiguous = files.findLastIndex(
    ({ number }, i) => i === 0 || files[i - 1].number !== number - 1,
  );
  const [unreadable, readable] = [
    files.slice(0, Math.max(0, firstContiguous)),
    files.slice(Math.max(0, firstContiguous)),
  ];
  for (const { number } of unreadable) journal.setAside(number);

  const wanted = Math.ceil(options.memoryBytes / SEGMENT_BYTES);
  const segments = new Segments(
    Math.max(wanted, readable.length + SEGMENTS_TO_GROW),
    readable[0]?.number ?? 0,
  );
  const store = new Store(
    segments,
    new Producers(slotsFor(options.memoryBytes)),
    journal,
    options.onFree,
  );
  const read = readable.map(({ number }) => {
    const length = journal.read(number, segments.bytes(number));
    segments.load(number, length);
    return { number, length };
  });

  const survived = last !== undefined && (last.bootId === bootId || last.isClean || last.isSynced);
  const mayHaveLost = unreadable.length > 0 || (files.length > 0 && !survived);
  const { ends, damaged } = replay(store, read, nowMs, mayHaveLost, newId);
  // If we die before the new epochs are written, whoever comes next must begin new ones as well.
  if (damaged) journal.forgetRun();
  read.forEach(({ number, length }, i) => {
    if (ends[i] < length) journal.truncate(number, ends[i]);
  });
  // A relay that is killed while its disk is full comes back and refuses publications: nothing may
  // have to be written for that.
  if (!store.start()) throw new Error(`the journal in ${folder} cannot be written`);
  const isNewLineage = damaged || mayHaveLost;
  if (isNewLineage) {
    log.warn("publications may have been lost with the machine: every channel begins a new epoch");
    // Half of them would be worse than no start: whoever comes next would give offsets of the old
    // epochs anew.
    if (!store.defineAll()) throw new Error(`the journal in ${folder} cannot be written`);
  }
  const lineage = last === undefined || isNewLineage ? newId() : last.lineage;
  const run = { version: JOURNAL_VERSION, lineage, bootId, isClean: false, isSynced };
  if (!Bun.deepEquals(last, run)) journal.noteRun(run);
  const bytes = read.reduce((sum, { length }) => sum + length, 0);
  const tookMs = Math.round(performance.now() - startedMs);
  log.info({ channels: store.channels.size, bytes, tookMs }, "journal read");
  return { store, lineage, close: () => journal.noteRun({ ...run, isClean: true }) };
}

const newId = (): string => randomBytes(8).toString("hex");

/**
 * Changes with every boot of the machine; what the page cache held is gone then. Empty where the
 * system does not tell.
 */
function currentBootId(): string {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
  } catch {
    return "";
  }
}
