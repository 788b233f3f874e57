// Good clients in a process of their own: `bun bystander-process.ts ADDRESS PAIRS`. Each of the
// publishers has a channel, and each of the readers reads them all. Told to stop within
// some time, they publish no more, wait for what is under way, and say what they have seen.

import type { Client } from "../../src/client/index.ts";
import { connect } from "../../src/client/index.ts";
import { isRecord } from "../../src/wire/shape.ts";
import { eventually } from "../eventually.ts";
import type { Notes } from "./bystanders.ts";
import { add } from "./report.ts";

const PUBLISH_MS = 25;
const OPEN_WITHIN_MS = 10_000;
const WRONG_MAX = 50;

type Sent = { readonly n: number; readonly atMs: number };

const [address = "", pairs = "1"] = process.argv.slice(2);
const count = Number(pairs);
const channels = Array.from({ length: count }, (_, i) => `watched:${i}`);
const notes: Notes = {
  latenciesMs: [],
  published: 0,
  acknowledged: 0,
  delivered: 0,
  expected: 0,
  closed: {},
  wrong: [],
};
const wrong = (what: string) => {
  if (notes.wrong.length < WRONG_MAX) notes.wrong.push(what);
};

/** One after the other, so that the lb spreads them evenly. */
async function open(): Promise<Client> {
  const client = connect(`ws://${address}`);
  let node = "no node";
  client.on("connected", (event) => {
    node = event.node;
  });
  client.on("disconnected", ({ code, wasConnected }) => {
    if (wasConnected) add(notes.closed, `${node} ${code}`);
  });
  client.on("error", (error) => wrong(`a bystander's error: ${error.message}`));
  await eventually(() => client.node !== undefined, Boolean, { withinMs: OPEN_WITHIN_MS });
  return client;
}

async function read(reader: Client, name: string): Promise<void> {
  const channel = reader.channel<Sent>(name);
  let last = 0;
  channel.on("message", ({ data: { n, atMs } }) => {
    notes.latenciesMs.push(performance.now() - atMs);
    notes.delivered++;
    if (n !== last + 1) wrong(`${name}: ${n} came after ${last}`);
    last = n;
  });
  channel.on("gap", ({ reason, from, to }) => wrong(`${name}: gap ${reason} ${from}..${to}`));
  channel.on("refused", ({ code }) => wrong(`${name}: a reader was refused with ${code}`));
  await channel.subscribe();
}

const publishers: Client[] = [];
const readers: Client[] = [];
for (let i = 0; i < count; i++) publishers.push(await open());
for (let i = 0; i < count; i++) readers.push(await open());
await Promise.all(readers.flatMap((reader) => channels.map((name) => read(reader, name))));

const numbers = channels.map(() => 0);
const timer = setInterval(() => {
  channels.forEach((name, i) => {
    notes.published++;
    numbers[i]++;
    publishers[i]
      .channel<Sent>(name)
      .publish({ n: numbers[i], atMs: performance.now() })
      .then(
        () => notes.acknowledged++,
        (error: Error) => wrong(`${name}: not published: ${error.message}`),
      );
  });
}, PUBLISH_MS);

async function stop(withinMs: number): Promise<void> {
  clearInterval(timer);
  notes.expected = notes.published * count;
  const isSettled = () =>
    notes.acknowledged === notes.published && notes.delivered >= notes.expected;
  await eventually(isSettled, Boolean, { withinMs }).catch(() => {});
  process.send?.(notes);
}

process.on("message", (order: unknown) => {
  if (isRecord(order)) void stop(Number(order.withinMs));
});
process.on("disconnect", () => process.exit(0));
process.send?.(notes);
