// Question "growth": whether a delivery costs more as the number of nodes, channels or subscribers,
// or the history, grows.

import { Audience } from "./audience.ts";
import { inTurns, type Measurement } from "./measure.ts";
import type { Question, Scale } from "./question.ts";
import { tutti } from "./stacks.ts";

const SUBSCRIBERS = 400;
/** Subscribers of one channel over all nodes: enough to make eight nodes worthwhile. */
const CROWD = 2000;
const RATE = 100;
/** Channels that one connection subscribes to: at most 100 are allowed. */
const CHANNELS_PER_CONNECTION = 50;

type Grown = {
  readonly what: string;
  readonly audience: Audience;
  readonly channels: number;
  readonly rate: number;
  readonly listeners: number;
};

const cluster = async (nodes: number, env = {}): Promise<Audience> =>
  Audience.of(await tutti("tutti", ["--nodes", String(nodes), "--memory-mb", "256"], env));

/** More nodes with the same number of subscribers. */
async function overNodes(counts: number[]): Promise<Grown[]> {
  const grown: Grown[] = [];
  for (const nodes of counts) {
    const audience = await cluster(nodes);
    await audience.gather(CROWD);
    grown.push({ what: `nodes: ${nodes}`, audience, channels: 1, rate: RATE, listeners: CROWD });
  }
  return grown;
}

/** More channels with one subscriber each; the same publications and connections in total. */
async function overChannels(counts: number[]): Promise<Grown[]> {
  const grown: Grown[] = [];
  const connections = Math.max(
    SUBSCRIBERS,
    ...counts.map((channels) => channels / CHANNELS_PER_CONNECTION),
  );
  for (const channels of counts) {
    const audience = await cluster(4);
    await audience.connect(connections);
    await audience.spread(channels, 0, 1);
    grown.push({ what: `channels: ${channels}`, audience, channels, rate: 1000, listeners: 1 });
  }
  return grown;
}

/** More subscribers of one channel. */
async function overSubscribers(counts: number[]): Promise<Grown[]> {
  const grown: Grown[] = [];
  for (const subscribers of counts) {
    const audience = await cluster(4);
    await audience.gather(subscribers);
    grown.push({
      what: `subscribers: ${subscribers}`,
      audience,
      channels: 1,
      rate: 50,
      listeners: subscribers,
    });
  }
  return grown;
}

/** A larger history in each of 100 channels. */
async function overHistory(counts: number[]): Promise<Grown[]> {
  const grown: Grown[] = [];
  for (const size of counts) {
    const audience = await cluster(4, { BENCH_HISTORY: String(size) });
    await audience.connect(SUBSCRIBERS);
    const subscriptions = await audience.spread(100, 0, 4);
    grown.push({
      what: `history: ${size}`,
      audience,
      channels: 100,
      rate: 1000,
      listeners: subscriptions / 100,
    });
  }
  return grown;
}

async function measure(
  grown: readonly Grown[],
  { isQuick, rounds, note }: Scale,
): Promise<Measurement[]> {
  const named = grown.map((each) => ({ ...each, name: each.what }));
  note(grown.map(({ what }) => what).join(", "));
  const play = ({ audience, channels, rate, listeners }: Grown) =>
    audience.play({
      rate,
      seconds: isQuick ? 1 : 3,
      bytes: 100,
      channels,
      first: 0,
      audience: listeners,
    });
  // Warm up, because code is compiled at run time.
  for (const each of grown) await play(each);
  const measured = await inTurns("", named, rounds, play);
  await Promise.all(grown.map(({ audience }) => audience.stop()));
  return measured.map(({ who, figures }) => ({ what: who, who: "tutti", figures }));
}

export const growth: Question = {
  name: "growth",
  asks: "How does the cost of a delivery grow?",
  method: `tutti alone, CPU of the whole stack per delivery of 100 B: ${CROWD.toLocaleString("en-US")} subscribers × ${RATE}/s over 1 to 8 nodes; 1,000/s over 1 to 100,000 channels of one subscriber; 50/s to 1 to 4,000 subscribers; 1,000/s over 100 channels with a history of 0 to 1,000.`,
  columns: [
    { figure: "cpuUs", title: "CPU per delivery, µs", digits: 1 },
    { figure: "p99Ms", title: "p99, ms", digits: 1 },
    { figure: "arrived", title: "arrived, %", digits: 1 },
    { figure: "cores", title: "stack, cores", digits: 2 },
    { figure: "loadCores", title: "busier load, cores", digits: 2 },
  ],
  plot: { figure: "cpuUs", title: "CPU per delivery, µs", kind: "lines" },

  async run(scale) {
    const { isQuick } = scale;
    const measurements = await measure(await overNodes(isQuick ? [1, 4] : [1, 2, 4, 8]), scale);
    measurements.push(
      ...(await measure(
        await overChannels(isQuick ? [1, 1000] : [1, 100, 10_000, 100_000]),
        scale,
      )),
    );
    if (isQuick) return measurements;
    measurements.push(...(await measure(await overSubscribers([10, 100, 1000, 4000]), scale)));
    measurements.push(...(await measure(await overHistory([0, 10, 1000]), scale)));
    return measurements;
  },
};
