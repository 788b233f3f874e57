// A relay's data folder as the next relay finds it: written by an earlier version, restored from a
// backup, used by another number of relays, larger than the memory that is wanted.

import { expect, setDefaultTimeout, test } from "bun:test";
import { cpSync, readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Journal } from "../../src/relay/journal/journal.ts";
import { recover } from "../../src/relay/store/recover.ts";
import { createLogger } from "../../src/runtime/log.ts";
import { encodePublish, setAge } from "../../src/wire/frame.ts";
import { OUTCOME_UNKNOWN } from "../../src/wire/relay-messages.ts";
import { relayCommand, startRelay, TestLink, testFolder } from "./process.ts";

setDefaultTimeout(60_000);

const FOREVER = { size: 1000, ttlMs: 1e13, bytes: 1e7 };
/** What the fixture holds: see its publications v1…v20 in "news", and one in "other". */
const EPOCH_V1 = "3c530697767d2d69";

async function write(folder: string, count: number): Promise<{ epoch: string; top: number }> {
  const relay = await startRelay(folder);
  using link = new TestLink(relay.port, "writer");
  await link.next("welcome");
  const { id, epoch, top } = await link.open("news", { policy: FOREVER });
  for (let n = 1; n <= count; n++) link.publish(id, n, `${n}`, { high: 7, low: top });
  for (let had = 0; had < count; ) had += (await link.next("ack")).outcomes.length;
  await relay.kill("SIGTERM");
  return { epoch, top: top + count };
}

async function read(folder: string, command?: string[]) {
  const relay = await startRelay(folder, 0, command);
  using link = new TestLink(relay.port, "reader");
  await link.next("welcome");
  const opened = await link.open("news", { policy: FOREVER });
  await relay.kill();
  return { epoch: opened.epoch, top: opened.top };
}

test("a journal of version 1 is read once and goes on with its positions, repeats known", async () => {
  using place = testFolder();
  cpSync(join(import.meta.dir, "journal-v1"), join(place.path, "relay"), { recursive: true });
  const torn = Buffer.of(0, 0, 0, 200, 0x97, 0x11, 0xce);
  writeFileSync(join(place.path, "relay/00000000.segment"), torn, { flag: "a" });
  for (let start = 1; start <= 2; start++) {
    const relay = await startRelay(place.path);
    using link = new TestLink(relay.port, "reader");
    await link.next("welcome");
    const since = { epoch: EPOCH_V1, offset: 18 };
    const opened = await link.open("news", { policy: FOREVER, since });
    expect(opened).toMatchObject({ epoch: EPOCH_V1, top: 19 + start, gap: null });
    expect((await link.publications(2))[0]).toBe('19:"v19"');
    link.publish(opened.id, 20, '"v20"');
    link.publish(opened.id, 100 + start, '"new"');
    expect((await link.next("ack")).outcomes).toEqual([20, 20 + start]);
    // Version 1 knew clients by other numbers: an old one that is sent again may be there already.
    const repeat = encodePublish(opened.id, { high: 99, low: 1 }, 1, Buffer.from('"old"'));
    setAge(repeat, 0, 60_000);
    link.link.send(repeat);
    expect((await link.next("ack")).outcomes).toEqual([OUTCOME_UNKNOWN]);
    await relay.kill();
  }
  const run = JSON.parse(readFileSync(join(place.path, "relay/run.json"), "utf8"));
  expect(run.version).toBe(2);
});

test("a journal that ends before the place where it was closed begins new epochs", async () => {
  using place = testFolder();
  const { epoch, top } = await write(place.path, 10);
  expect(await read(place.path)).toEqual({ epoch, top });
  const again = await write(place.path, 10);
  const folder = join(place.path, "relay");
  const newest = readdirSync(folder)
    .filter((name) => name.endsWith(".segment"))
    .sort()
    .at(-1);
  const file = join(folder, newest ?? "");
  truncateSync(file, readFileSync(file).length - 200);
  expect((await read(place.path)).epoch).not.toBe(again.epoch);
});

test("another number of relays begins new epochs, each time it changes", async () => {
  using place = testFolder();
  const { epoch, top } = await write(place.path, 3);
  const withRelays = (count: number) => [...relayCommand(place.path), "--relays", String(count)];
  const two = await read(place.path, withRelays(2));
  expect(two.epoch).not.toBe(epoch);
  expect(two.top).toBe(top);
  expect(await read(place.path, withRelays(2))).toEqual(two);
  expect((await read(place.path, withRelays(1))).epoch).not.toBe(two.epoch);
});

test("a run counts as clean, or synced, only when every segment has reached the disk", () => {
  using place = testFolder();
  const synced: number[] = [];
  class Watched extends Journal {
    override sync(segments: Iterable<number>): void {
      const list = [...segments];
      synced.push(...list);
      super.sync(list);
    }
  }
  const journal = new Watched(
    join(place.path, "relay"),
    false,
    createLogger("relay", "r", "silent"),
  );
  const bytes = new Uint8Array(100);
  for (const segment of [0, 1, 2]) {
    journal.create(segment);
    journal.write(segment, bytes, 0, 100);
  }
  const run = { version: 2, lineage: "l", bootId: "", isClean: false, isSynced: false };
  journal.noteRun(run);
  expect(synced).toEqual([]);
  journal.noteRun({ ...run, isClean: true });
  expect(synced).toEqual([0, 1, 2]);
});

test("a journal of many segments is read with signs of life in between", async () => {
  using place = testFolder();
  const folder = join(place.path, "relay");
  const log = createLogger("relay", "r", "silent");
  let progress = 0;
  const open = () =>
    recover({
      folder,
      memoryBytes: 32 * 1024 * 1024,
      isSynced: false,
      relays: 1,
      nowMs: Date.now(),
      log,
      onFree: () => {},
      onProgress: () => progress++,
    });
  const { store, close } = await open();
  expect(progress).toBe(0);
  const channel = store.open("news", { size: 0, ttlMs: 1, bytes: 1 }, "e", 0);
  if (typeof channel === "string") throw new Error(channel);
  while (store.segments.head < 3 && store.define(channel));
  close();
  await open();
  // Read once, then looked through twice.
  expect(progress).toBe(3 * 4);
});
