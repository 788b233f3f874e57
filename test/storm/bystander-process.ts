// Unaffected clients in a process of their own: `bun bystander-process.ts ADDRESS COUNT CHANNEL…`.
// They subscribe to the channels, publish to them continuously, and measure latencies. On "lap"
// they report the figures since the last lap; on "stop" they stop publishing and report the totals.

import { connect } from "../../src/client/index.ts";
import { isRecord } from "../../src/wire/shape.ts";
import type { Lap, Sent } from "./bystanders.ts";

/** The interval in which each channel is published to once, in turn. */
const ROUND_MS = 250;

const [address = "", count = "1", ...channels] = process.argv.slice(2);
const wallMs = () => performance.timeOrigin + performance.now();
let lap: Lap = { latenciesMs: [], published: 0, wrong: [] };
let published = 0;

const clients = Array.from({ length: Number(count) }, () => connect(`ws://${address}`));
await Promise.all(
  clients.map(async (client, i) => {
    const channel = client.channel<Sent>(channels[i % channels.length]);
    let next = 1;
    channel.on("message", ({ data: { n, atMs } }) => {
      lap.latenciesMs.push(wallMs() - atMs);
      if (n !== next) lap.wrong.push(`${channel.name}: ${n}, not ${next}`);
      next = n + 1;
    });
    channel.on("gap", (gap) => lap.wrong.push(`${channel.name}: ${JSON.stringify(gap)}`));
    await channel.subscribe();
  }),
);

const publisher = connect(`ws://${address}`);
const pending: Promise<unknown>[] = [];
let turn = 0;

function publishNext(): void {
  if (turn === 0) published++;
  pending[turn] = publisher.channel<Sent>(channels[turn]).publish({ n: published, atMs: wallMs() });
  turn = (turn + 1) % channels.length;
}

const timer = setInterval(publishNext, ROUND_MS / channels.length);

process.on("message", async (order: unknown) => {
  if (isRecord(order) && order.what === "stop") {
    clearInterval(timer);
    while (turn !== 0) publishNext();
    await Promise.all(pending);
  }
  process.send?.({ ...lap, published });
  lap = { latenciesMs: [], published: 0, wrong: [] };
});
process.on("disconnect", () => process.exit(0));
process.send?.({ ...lap, published });
