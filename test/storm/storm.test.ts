// Small storms for every test run. For the figures of a large one: bun test/storm/main.ts

import { expect, test } from "bun:test";
import { slow } from "./slow.ts";
import { storm } from "./storm.ts";

test("2,000 clients of a killed node reconnect at once without loss", async () => {
  const channels = 10;
  const report = await storm({ clients: 2000, bystanders: 60, channels });
  console.log(report);
  expect(report).toMatchObject({ clients: 2000, resumed: 2000, recovered: 2000, wrong: [] });
  // Each of the three nodes may ask once about each channel that it did not have open.
  expect(report.questions).toBeLessThanOrEqual(3 * channels);
  expect(report.p95Ms).toBeLessThan(15_000);
  expect(report.stormP99Ms).toBeLessThan(5000);
}, 120_000);

test("stalled readers stay within limits and resume or receive a gap", async () => {
  const stalled = 20;
  const report = await slow({ stalled, bystanders: 60, publications: 250 });
  console.log(report);
  expect(report).toMatchObject({
    disconnected: stalled,
    recovered: stalled / 2,
    toldOfGap: stalled / 2,
  });
  expect([...report.untold, ...report.wrong]).toEqual([]);
  // The budget per reader, what Bun allows beyond it, and memory for the flood itself.
  for (const [id, mb] of Object.entries(report.grownMb))
    expect(mb, id).toBeLessThan(stalled * 4.5 + 64);
  expect(report.stalledP99Ms).toBeLessThan(5000);
}, 120_000);
