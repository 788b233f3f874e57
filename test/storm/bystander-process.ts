// Clients that have nothing to do with what happens to others, in a process of their own: `bun
// bystander-process.ts ADDRESS COUNT CHANNEL…`. They read the channels, publish to them all the
// time, and measure how long that takes. Told "lap" they say how the time since the last lap was,
// told "stop" they publish nothing more and say how much it was.

import { connect } from "../../src/client/index.ts";
import { isRecord } from "../../src/wire/shape.ts";
import type { Lap, Sent } from "./bystanders.ts";

/** In so much time each channel is published to once, one after the other. */
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
