// Question "fan-out": the cost and latency of delivering each message to all subscribers.

import { Audience, type Traffic } from "./audience.ts";
import { inTurns, type Measurement, median } from "./measure.ts";
import type { Question, Scale } from "./question.ts";
import { kindsFor, startStacks } from "./stacks.ts";

type Cell = { readonly subscribers: number; readonly rate: number; readonly bytes: number };

const SECONDS = 3;
const SECONDS_QUICK = 1.5;
/** Warm-up traffic, because code is compiled at run time. */
const WARM_UP: Cell = { subscribers: 500, rate: 100, bytes: 100 };
/** The highest acceptable p99. */
const LATE_MS = 100;
/**
 * Above this p99, or below ARRIVED percent, a stack does not keep up; it is then not given SPARED
 * times that load.
 */
const OVERRUN_MS = 2000;
const ARRIVED = 99;
const SPARED = 4;
/** Subscribers in the last block. */
const HIGHEST_SUBSCRIBERS = 1000;

const cells = (isQuick: boolean): Cell[] =>
  isQuick
    ? [{ subscribers: 500, rate: 100, bytes: 100 }]
    : [100, 1000, 4000].flatMap((subscribers) =>
        [10, 100, 500].flatMap((rate) =>
          [100, 1024].map((bytes) => ({ subscribers, rate, bytes })),
        ),
      );

const inWords = ({ subscribers, rate, bytes }: Cell): string =>
  `${subscribers.toLocaleString("en-US")} subscribers × ${rate}/s of ${bytes === 1024 ? "1 KiB" : `${bytes} B`}`;

const traffic = ({ subscribers, rate, bytes }: Cell, seconds: number): Traffic => ({
  ...{ rate, seconds, bytes },
  ...{ channels: 1, first: 0, audience: subscribers },
});

/** The highest rate, in steps of × 1.5, at which p99 stays under 100 ms. */
async function highestRate(
  audience: Audience,
  subscribers: number,
  seconds: number,
): Promise<number> {
  let highest = 0;
  for (let rate = 20; ; rate = Math.ceil(rate * 1.5)) {
    const { p99Ms, arrived } = await audience.play(
      traffic({ subscribers, rate, bytes: 100 }, seconds),
    );
    if (arrived < ARRIVED || p99Ms > LATE_MS) return highest;
    highest = rate;
  }
}

/** A stack that may be replaced by a new one of its kind. */
type Contestant = { readonly name: string; audience: Audience };

const keepsUp = (p99Ms: number, arrived: number): boolean =>
  arrived >= ARRIVED && p99Ms <= OVERRUN_MS;

async function warmUp(audience: Audience): Promise<void> {
  await audience.gather(WARM_UP.subscribers);
  await audience.play(traffic(WARM_UP, SECONDS));
}

/** Restarts a stack that was overloaded, so that the overload does not affect the next case. */
async function restartStack(contestant: Contestant, subscribers: number): Promise<void> {
  const { kind } = contestant.audience.stack;
  await contestant.audience.stop();
  const [stack] = await startStacks([kind]);
  contestant.audience = await Audience.of(stack);
  await warmUp(contestant.audience);
  await contestant.audience.gather(subscribers);
}

async function measureCells(
  contestants: readonly Contestant[],
  { isQuick, rounds, note }: Scale,
): Promise<Measurement[]> {
  const measurements: Measurement[] = [];
  /** The lowest deliveries per second that each stack could not keep up with. */
  const tooMany = new Map<string, number>();
  let gathered = 0;
  for (const cell of cells(isQuick)) {
    const offered = cell.subscribers * cell.rate;
    if (cell.subscribers !== gathered)
      for (const { audience } of contestants) await audience.gather(cell.subscribers);
    gathered = cell.subscribers;
    const able = contestants.filter(
      ({ name }) => offered < SPARED * (tooMany.get(name) ?? Number.POSITIVE_INFINITY),
    );
    note(inWords(cell));
    const play = async (contestant: Contestant) => {
      const figures = await contestant.audience.play(
        traffic(cell, isQuick ? SECONDS_QUICK : SECONDS),
      );
      if (!keepsUp(figures.p99Ms, figures.arrived))
        await restartStack(contestant, cell.subscribers);
      return figures;
    };
    const measured = await inTurns(inWords(cell), able, rounds, play);
    for (const { who, figures } of measured)
      if (!keepsUp(median(figures.p99Ms), median(figures.arrived)))
        tooMany.set(who, Math.min(offered, tooMany.get(who) ?? offered));
    measurements.push(...measured);
  }
  return measurements;
}

export const fanOut: Question = {
  name: "fan-out",
  asks: "What does it cost to reach all subscribers?",
  method:
    "All subscribers are in one channel; publishers send through the same load balancer. CPU is that of every process of the stack: load balancer, servers, broker, supervisor. A stack that cannot keep up with a load is restarted before its next turn, and is not given four times that load. The last block: the highest rate at which 99 of 100 deliveries arrive within 100 ms, 1,000 subscribers, 100 B.",
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
    for (const audience of audiences) await warmUp(audience);
    const contestants: Contestant[] = audiences.map((audience) => ({
      name: audience.name,
      audience,
    }));
    const measurements = await measureCells(contestants, scale);
    if (!isQuick) {
      const highest = async (contestant: Contestant) => {
        await restartStack(contestant, HIGHEST_SUBSCRIBERS);
        return {
          highest: await highestRate(contestant.audience, HIGHEST_SUBSCRIBERS, SECONDS_QUICK),
        };
      };
      measurements.push(
        ...(await inTurns(
          "highest rate, p99 under 100 ms",
          contestants,
          Math.min(3, rounds),
          highest,
        )),
      );
    }
    await Promise.all(contestants.map(({ audience }) => audience.stop()));
    return measurements;
  },
};
