// Question "channels": the cost when each message has only a few subscribers.

import { Audience } from "./audience.ts";
import { inTurns } from "./measure.ts";
import type { Question } from "./question.ts";
import { kindsFor, startStacks } from "./stacks.ts";

const CONNECTIONS = 500;
const MOST_SUBSCRIBERS = 4;
/** Warm-up, because code is compiled at run time. */
const WARM_UP_SECONDS = 3;

export const manyChannels: Question = {
  name: "channels",
  asks: "What does it cost when each message has few subscribers?",
  method: `10,000 channels (with --quick 1,000) of 1 to ${MOST_SUBSCRIBERS} subscribers each, over ${CONNECTIONS} connections; 1,000 publications of 100 B per second over all channels in turn, from 8 publishers on other connections.`,
  columns: [
    { figure: "perCpuSecond", title: "deliveries per CPU-second", digits: 0 },
    { figure: "p50Ms", title: "p50, ms", digits: 1 },
    { figure: "p99Ms", title: "p99, ms", digits: 1 },
    { figure: "arrived", title: "arrived, %", digits: 1 },
    { figure: "cores", title: "stack, cores", digits: 2 },
    { figure: "loadCores", title: "busier load, cores", digits: 2 },
  ],
  plot: { figure: "perCpuSecond", title: "deliveries per CPU-second", kind: "bars" },

  async run({ isQuick, rounds }) {
    const channels = isQuick ? 1000 : 10_000;
    const audiences = await Audience.all(await startStacks(kindsFor(isQuick)));
    let subscriptions = 0;
    for (const audience of audiences) {
      await audience.connect(CONNECTIONS);
      subscriptions = await audience.spread(channels, 0, MOST_SUBSCRIBERS);
    }
    const traffic = {
      rate: 1000,
      seconds: isQuick ? 1 : 3,
      bytes: 100,
      channels,
      first: 0,
      audience: subscriptions / channels,
    };
    for (const audience of audiences) await audience.play({ ...traffic, seconds: WARM_UP_SECONDS });
    const what = `${channels.toLocaleString("en-US")} channels`;
    const measurements = await inTurns(what, audiences, rounds, (audience) =>
      audience.play(traffic),
    );
    await Promise.all(audiences.map((audience) => audience.stop()));
    return measurements;
  },
};
