// A relay's data folder with damaged files: a real relay starts on it, keeps valid records and
// reports the others, and its successor reports nothing more.

import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { cpSync, readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { RelayMessageOf } from "../../src/wire/relay-messages.ts";
import { startRelay, TestLink, testFolder } from "../relay/process.ts";

setDefaultTimeout(60_000);

const PUBLICATIONS = 100;
const TEXT = "x".repeat(100_000);
const original = testFolder();
let since: { epoch: string; offset: number };

beforeAll(async () => {
  const relay = await startRelay(original.path);
  using link = new TestLink(relay.port, "writer");
  await link.next("welcome");
  const { id, epoch } = await link.open("news");
  for (let seq = 1; seq <= PUBLICATIONS; seq++) {
    link.publish(id, seq, TEXT);
    await link.next("ack");
  }
  since = { epoch, offset: PUBLICATIONS - 1 };
  await relay.kill();
});
afterAll(() => original[Symbol.dispose]());

const segment = (folder: string, n: number): string => {
  const names = readdirSync(folder).filter((name) => name.endsWith(".segment"));
  return join(folder, names.sort()[n]);
};

function change(file: string, at: number, ...bytes: number[]): void {
  const whole = readFileSync(file);
  whole.set(bytes, at);
  writeFileSync(file, whole);
}

/** The damage, and whether a reader can still be told that nothing was lost. */
const DAMAGES: readonly [what: string, isHarmless: boolean, damage: (folder: string) => void][] = [
  [
    "a torn end",
    true,
    (folder) => writeFileSync(segment(folder, 2), Buffer.of(0, 0, 1, 0, 0x97, 0x11), { flag: "a" }),
  ],
  [
    "a lying length at the beginning of the newest",
    false,
    (folder) => change(segment(folder, 2), 0, 0, 0x3f, 0xff, 0xff),
  ],
  [
    "a lying length in the middle",
    false,
    (folder) => change(segment(folder, 1), 100_100, 0xff, 0xff, 0xff, 0xff),
  ],
  [
    "zeros in the oldest",
    false,
    (folder) => change(segment(folder, 0), 5000, ...Array<number>(100_000).fill(0)),
  ],
  ["a segment that is cut short", false, (folder) => truncateSync(segment(folder, 1), 1_000_001)],
  [
    "a segment of garbage",
    false,
    (folder) => writeFileSync(segment(folder, 1), crypto.getRandomValues(new Uint8Array(60_000))),
  ],
  ["a run.json of garbage", false, (folder) => writeFileSync(join(folder, "run.json"), "{]")],
];

/** Starts a relay on the folder; resolves to its OPENED, and the offset of a new publication. */
async function serve(
  folder: string,
  seq: number,
): Promise<{ opened: RelayMessageOf<"opened">; offset: number }> {
  const relay = await startRelay(folder);
  using link = new TestLink(relay.port, "reader");
  await link.next("welcome");
  const opened = await link.open("news", { since });
  link.publish(opened.id, seq, "after", { high: 5, low: 5 });
  const [offset] = (await link.next("ack")).outcomes;
  await relay.kill();
  return { opened, offset };
}

for (const [what, isHarmless, damage] of DAMAGES)
  test(what, async () => {
    using place = testFolder();
    cpSync(original.path, place.path, { recursive: true });
    damage(join(place.path, "relay"));
    const first = await serve(place.path, 1);
    expect(first.opened.epoch === since.epoch).toBe(isHarmless);
    expect(first.opened.gap === null).toBe(isHarmless);
    expect(first.offset).toBe(first.opened.top + 1);
    const second = await serve(place.path, 2);
    expect(second.opened).toMatchObject({ epoch: first.opened.epoch, top: first.offset });
  });
