// Question "fan-out": what does it cost to tell everybody, and how late are they told?

import { Audience, type Traffic } from "./audience.ts";
import { inTurns, type Measurement, median } from "./measure.ts";
import type { Question, Scale } from "./question.ts";
import { kindsFor, startStacks } from "./stacks.ts";

type Cell = { readonly subscribers: number; readonly rate: number; readonly bytes: number };

const SECONDS = 3;
const SECONDS_QUICK = 1.5;
/** Before it counts: what is compiled as it runs is measured when it has run. */
const WARM_UP: Cell = { subscribers: 500, rate: 100, bytes: 100 };
/** The p99 that is still good. */
const LATE_MS = 100;
/** Above this p99, or with fewer arrived, a stack does not keep up, and is spared what is so many times more. */
const OVERRUN_MS = 2000;
const ARRIVED = 99;
const SPARED = 4;

const cells = (isQuick: boolean): Cell[] =>
  isQuick
    ? [{ subscribers: 500, rate: 100, bytes: 100 }]
    : [100, 1000, 4000].flatMap((subscribers) =>
        [10, 100, 500].flatMap((rate) => [100, 1024].map((bytes) => ({ subscribers, rate, bytes }))),
      );

const inWords = ({ subscribers, rate, bytes }: Cell): string =>
  `${subscribers.toLocaleString("en-US")} subscribers × ${rate}/s of ${bytes === 1024 ? "1 KiB" : `${bytes} B`}`;

const traffic = ({ subscribers, rate, bytes }: Cell, seconds: number): Traffic => ({
  ...{ rate, seconds, bytes },
  ...{ channels: 1, first: 0, audience: subscribers },
});

/** The highest rate, in steps of a half, at which p99 stays under 100 ms. */
async function highestRate(audience: Audience, subscribers: number, seconds: number): Promise<number> {
  let highest = 0;
  for (let rate = 20; ; rate = Math.ceil(rate * 1.5)) {
    const { p99Ms, arrived } = await audience.play(traffic({ subscribers, rate, bytes: 100 }, seconds));
    if (arrived < ARRIVED || p99Ms > LATE_MS) return highest;
    highest = rate;
  }
}

async function measureCells(audiences: readonly Audience[], { isQuick, rounds, note }: Scale): Promise<Measurement[]> {
  const measurements: Measurement[] = [];
  /** Deliveries per second that each stack could not keep up with. */
  const tooMany = new Map<string, number>();
  let gathered = 0;
  for (const cell of cells(isQuick)) {
    const offered = cell.subscribers * cell.rate;
    if (cell.subscribers !== gathered) for (const audience of audiences) await audience.gather(cell.subscribers);
    gathered = cell.subscribers;
    const able = audiences.filter(({ name }) => offered < SPARED * (tooMany.get(name) ?? Number.POSITIVE_INFINITY));
    note(inWords(cell));
    const play = (audience: Audience) => audience.play(traffic(cell, isQuick ? SECONDS_QUICK : SECONDS));
    const measured = await inTurns(inWords(cell), able, rounds, play);
    for (const { who, figures } of measured)
      if (median(figures.arrived) < ARRIVED || median(figures.p99Ms) > OVERRUN_MS)
        tooMany.set(who, Math.min(offered, tooMany.get(who) ?? offered));
    measurements.push(...measured);
  }
  return measurements;
}

export const fanOut: Question = {
  name: "fan-out",
  asks: "What does it cost to tell everybody?",
  method:
    "All subscribers are in one channel; publishers send through the same door. CPU is that of every process of the stack: door, servers, broker, supervisor. A stack that could not keep up with a load is spared four times that load, and is not restarted: what it lost then it lacks afterwards. The last block: the highest rate at which 99 of 100 deliveries come within 100 ms, 1,000 subscribers, 100 B.",
  columns: [
    { figure: "perCpuSecond", title: "deliveries per CPU-second", digits: 0 },
    { figure: "p50Ms", title: "p50, ms", digits: 1 },
    { figure: "p99Ms", title: "p99, ms", digits: 1 },
    { figure: "maxMs", title: "max, ms", digits: 0 },
    { figure: "arrived", title: "arrived, %", digits: 1 },
    { figure: "cores", title: "stack, cores", digits: 2 },
    { figure: "loadCores", title: "busier load, cores", digits: 2 },
    { figure: "highest", title: "highest rate/s", digits: 0 },
  ],
  plot: { figure: "perCpuSecond", title: "deliveries per CPU-second", kind: "bars" },

  async run(scale) {
    const { isQuick, rounds } = scale;
    const audiences = await Audience.all(await startStacks(kindsFor(isQuick)));
    for (const audience of audiences) {
      await audience.gather(WARM_UP.subscribers);
      await audience.play(traffic(WARM_UP, SECONDS));
    }
    const measurements = await measureCells(audiences, scale);
    if (!isQuick) {
      for (const audience of audiences) await audience.gather(1000);
      const highest = async (audience: Audience) => ({ highest: await highestRate(audience, 1000, SECONDS_QUICK) });
      measurements.push(...(await inTurns("highest rate, p99 under 100 ms", audiences, Math.min(3, rounds), highest)));
    }
    await Promise.all(audiences.map((audience) => audience.stop()));
    return measurements;
  },
};
