// A short soak test. A long one is more precise: bun run soak --connections 200000

import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { relayCommand, startRelay, TestLink, testFolder } from "../relay/process.ts";
import { slopesMax, soak } from "./soak.ts";

// The heaps grow by some hundred kilobytes over the first 10,000 connections and are flat after
// that: fewer connections would measure only that growth.
const CONNECTIONS = 20_000;

test("20,000 connections open and close: no process grows, unused channels are freed", async () => {
  const lines: string[] = [];
  const { slopes, openChannels, failed } = await soak({
    connections: CONNECTIONS,
    say: (line) => lines.push(line),
  });
  console.log(`${lines.at(-1)}\n${JSON.stringify(slopes)}`);
  expect(failed).toBe(0);
  expect(openChannels.after).toBeLessThanOrEqual(openChannels.before);
  const max = slopesMax(CONNECTIONS);
  for (const { id, heap, rss } of slopes) {
    expect(heap, `heap of ${id}\n${lines.join("\n")}`).toBeLessThan(max.heap);
    // In a short run, the memory that the allocator keeps dominates: only a large leak shows here.
    expect(rss, `memory of ${id}\n${lines.join("\n")}`).toBeLessThan(max.rss);
  }
}, 300_000);

test("a relay does not run out of channels while links close the channels they open", async () => {
  using folder = testFolder();
  const relay = await startRelay(folder.path, 0, [
    ...relayCommand(folder.path),
    "--memory-mb",
    "32",
  ]);
  const rssMb = () =>
    Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${relay.process.pid}/status`, "utf8"))?.[1]) /
    1024;
  using link = new TestLink(relay.port, "opener");
  await link.next("welcome");
  const policy = { size: 0, ttlMs: 0, bytes: 0 };
  // More than twice the number of channels that 64 MB of memory allow at a time.
  const [rounds, channels] = [80, 1000];
  let warmMb = 0;
  for (let round = 0; round < rounds; round++) {
    for (let n = 0; n < channels; n++)
      link.link.sendMessage({
        type: "open",
        channel: `c${round}-${n}`,
        live: true,
        presence: true,
        policy,
        since: null,
      });
    for (let n = 0; n < channels; n++)
      link.link.sendMessage({ type: "close", id: (await link.next("opened")).id });
    if (round === rounds / 2) warmMb = rssMb();
  }
  expect(rssMb() - warmMb).toBeLessThan(120);
  await relay.kill();
}, 120_000);
