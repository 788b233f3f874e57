// `bun run soak [--connections 200000]`: a cluster under connection churn. Exit code 1 if a process
// has grown.

import { parseArgs } from "node:util";
import { slopesMax, soak } from "./soak.ts";

const { values } = parseArgs({ options: { connections: { type: "string", default: "200000" } } });
const connections = Number(values.connections);
const { slopes, openChannels, failed } = await soak({ connections, say: console.log });
const max = slopesMax(connections);
for (const { id, heap, rss } of slopes)
  console.log(
    `${id.padEnd(12)} ${heap.toFixed(1)} B of heap, ${rss.toFixed(1)} B of memory per connection`,
  );
console.log(
  `channels open: ${openChannels.before} before, ${openChannels.after} after; failed connections: ${failed}`,
);
console.log(`allowed      ${max.heap.toFixed(1)} B of heap, ${max.rss.toFixed(1)} B of memory`);
const isFlat = slopes.every(({ heap, rss }) => heap < max.heap && rss < max.rss);
const isGood = isFlat && openChannels.after <= openChannels.before && failed === 0;
console.log(isGood ? "nothing leaks" : "something leaks, or failed");
process.exit(isGood ? 0 : 1);
