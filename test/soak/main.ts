// `bun run soak [--connections 200000]`: a cluster under connection churn. Exit code 1 if a process
// has grown.

import { parseArgs } from "node:util";
import { soak } from "./soak.ts";

/** Allowed memory growth of any process, in bytes per connection. */
const BYTES_MAX = 50;

const { values } = parseArgs({ options: { connections: { type: "string", default: "200000" } } });
const { slopes, openChannels, failed } = await soak({
  connections: Number(values.connections),
  say: console.log,
});
for (const { id, heap, rss } of slopes)
  console.log(
    `${id.padEnd(12)} ${heap.toFixed(1)} B of heap, ${rss.toFixed(1)} B of memory per connection`,
  );
console.log(
  `channels open: ${openChannels.before} before, ${openChannels.after} after; failed connections: ${failed}`,
);
const isFlat = slopes.every(({ heap, rss }) => heap < BYTES_MAX && rss < BYTES_MAX);
const isGood = isFlat && openChannels.after <= openChannels.before && failed === 0;
console.log(isGood ? "nothing leaks" : "something leaks, or failed");
process.exit(isGood ? 0 : 1);
