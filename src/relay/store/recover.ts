// Opens a relay's data folder: reads the journal that a predecessor left, or begins one.

import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Logger } from "../../runtime/log.ts";
import { Producers, slotsFor } from "../channels/producers.ts";
import { Journal, type Run } from "../journal/journal.ts";
import { JOURNAL_VERSION } from "../journal/records.ts";
import { SEGMENT_BYTES, Segments } from "../journal/segments.ts";
import { type ReadSegment, type Replayed, replay } from "./replay.ts";
import { Store } from "./store.ts";

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
  /** How many relays share the channels. */
  readonly relays: number;
  readonly nowMs: number;
  readonly log: Logger;
  readonly onFree: (segment: number) => void;
  /** Called now and then while a long journal is read. */
  readonly onProgress: () => void;
};

/** Rejects when the folder cannot be read or written. */
export async function recover(options: RecoverOptions): Promise<Recovered> {
  const { folder, isSynced, relays, nowMs, log, onProgress } = options;
  const startedMs = performance.now();
  const journal = new Journal(folder, isSynced, log);
  const last = journal.lastRun();
  const bootId = currentBootId();
  const files = journal.list();
  const firstContiguous = files.findLastIndex(
    ({ number }, i) => i === 0 || files[i - 1].number !== number - 1,
  );
  const unreadable = files.slice(0, Math.max(0, firstContiguous));
  const readable = files.slice(Math.max(0, firstContiguous));
  for (const { number } of unreadable) journal.setAside(number);

  const segments = new Segments(
    Math.ceil(options.memoryBytes / SEGMENT_BYTES),
    readable[0]?.number ?? 0,
    readable.length,
  );
  const producers = new Producers(slotsFor(options.memoryBytes));
  const store = new Store(segments, producers, journal, options.onFree);
  const read: ReadSegment[] = [];
  for (const { number } of readable) {
    const length = journal.read(number, segments.bytes(number));
    segments.load(number, length);
    read.push({ number, length });
    onProgress();
    await nextTurn();
  }

  const doubts = doubtsAbout(last, { bootId, relays, read });
  if (unreadable.length > 0) doubts.push("segments are missing between others");
  const mayHaveLost = files.length > 0 && doubts.length > 0;
  const replaying = replay(store, read, { nowMs, mayHaveLost, newEpoch: newId });
  let step = replaying.next();
  for (; step.done !== true; step = replaying.next()) {
    onProgress();
    await nextTurn();
  }
  const replayed = step.value;
  read.forEach(({ number, length }, i) => {
    const isNewest = i === read.length - 1;
    if (isNewest && replayed.ends[i] < length) journal.truncate(number, replayed.ends[i]);
  });
  // A relay that is killed while its disk is full comes back and refuses publications: nothing may
  // have to be written for that.
  const beginsSegment = last !== undefined && last.version !== JOURNAL_VERSION;
  if (!store.start(beginsSegment)) throw new Error(`the journal in ${folder} cannot be written`);
  reportLosses(log, journal, replayed, mayHaveLost ? doubts : []);
  // Half of them would be worse than no start: whoever comes next would give offsets of the old
  // epochs anew.
  if (!replayed.renewed.every((channel) => store.define(channel)))
    throw new Error(`the journal in ${folder} cannot be written`);
  if (isSynced && last?.isSynced !== true) journal.sync(journal.list().map((each) => each.number));
  const lineage = last === undefined || mayHaveLost ? newId() : last.lineage;
  const run: Run = { version: JOURNAL_VERSION, lineage, bootId, isClean: false, isSynced, relays };
  if (!Bun.deepEquals(last, run)) journal.noteRun(run);
  const bytes = read.reduce((sum, { length }) => sum + length, 0);
  const tookMs = Math.round(performance.now() - startedMs);
  log.info({ channels: store.channels.size, bytes, tookMs }, "journal read");
  const close = () => {
    const end = { segment: segments.head, bytes: store.writtenBytes };
    journal.noteRun({ ...run, isClean: true, end });
  };
  return { store, lineage, close };
}

type Present = { bootId: string; relays: number; read: readonly ReadSegment[] };

/** Why publications may be missing that were acknowledged, though nothing in the files shows it. */
function doubtsAbout(last: Run | undefined, { bootId, relays, read }: Present): string[] {
  if (last === undefined) return ["it is not known how the last run ended"];
  const doubts: string[] = [];
  const survived = last.bootId === bootId || last.isClean || last.isSynced;
  if (!survived) doubts.push("the machine has lost power or was started anew");
  const newest = read.at(-1);
  const { end } = last;
  const isShorter =
    end !== undefined &&
    (newest === undefined ||
      newest.number < end.segment ||
      (newest.number === end.segment && newest.length < end.bytes));
  if (last.isClean && isShorter)
    doubts.push("the journal is shorter than when it was closed: a backup, perhaps");
  if (last.relays !== undefined && last.relays !== relays)
    doubts.push(`there were ${last.relays} relays and now are ${relays}: channels have moved`);
  return doubts;
}

function reportLosses(
  log: Logger,
  journal: Journal,
  { damages, renewed }: Replayed,
  doubts: readonly string[],
): void {
  for (const { segment, at, bytes } of damages)
    log.error({ file: journal.pathOf(segment), at, bytes }, "a part of the journal is damaged");
  if (doubts.length > 0)
    log.warn({ doubts }, "publications may have been lost: every channel begins a new epoch");
  else if (renewed.length > 0)
    log.warn({ channels: renewed.length }, "channels begin new epochs: their newest may be lost");
}

const nextTurn = () => new Promise<void>((resolve) => setImmediate(resolve));
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
