// Question "requests": the latency and the CPU cost of a request through the whole stack.

import { Audience } from "./audience.ts";
import { type Figures, inTurns, type Measurement, Stopwatch } from "./measure.ts";
import { Load } from "./processes.ts";
import type { Question } from "./question.ts";
import { kindsFor, startStacks } from "./stacks.ts";

const CONNECTIONS = 50;
const BYTES = 100;

async function costs(
  audience: Audience,
  loadPid: number,
  requests: number,
  ask: () => Promise<Figures>,
): Promise<Figures> {
  const watch = new Stopwatch(audience.stack.pids);
  const load = new Stopwatch([loadPid]);
  const { p50Ms, p99Ms } = await ask();
  return {
    cpuUs: watch.cpuUs / requests,
    perSecond: requests / watch.seconds,
    p50Ms,
    p99Ms,
    loadCores: load.cores,
  };
}

export const requests: Question = {
  name: "requests",
  asks: "How long does a request take?",
  method: `${CONNECTIONS} connections, each of which sends a request as soon as the previous one is answered: a call over WebSocket whose ${BYTES} bytes the app returns, and a plain HTTP GET. nats-server has no app to call and no plain HTTP.`,
  columns: [
    { figure: "p50Ms", title: "p50, ms", digits: 2 },
    { figure: "p99Ms", title: "p99, ms", digits: 2 },
    { figure: "cpuUs", title: "CPU per request, whole stack, µs", digits: 1 },
    { figure: "perSecond", title: "per second", digits: 0 },
    { figure: "loadCores", title: "load, cores", digits: 2 },
  ],
  plot: { figure: "cpuUs", title: "CPU per request, µs", kind: "bars" },

  async run({ isQuick, rounds }) {
    const count = isQuick ? 3000 : 20_000;
    const audiences = await Audience.all(
      await startStacks(kindsFor(isQuick).filter((kind) => kind !== "nats")),
    );
    const browsers = new Map<Audience, Load>();
    for (const audience of audiences) {
      const browser = new Load("lb.ts");
      await browser.ask({ kind: "aim", port: audience.stack.port });
      browsers.set(audience, browser);
      await audience.connect(CONNECTIONS);
      await audience.call(1000, BYTES);
      await browser.ask({ kind: "get", messages: 1000, connections: CONNECTIONS });
    }
    const measurements: Measurement[] = await inTurns(
      "call over WebSocket",
      audiences,
      rounds,
      (audience) => costs(audience, audience.loadPid, count, () => audience.call(count, BYTES)),
    );
    const get = (audience: Audience): Promise<Figures> => {
      const browser = browsers.get(audience) ?? new Load("lb.ts");
      const task = { kind: "get", messages: count, connections: CONNECTIONS };
      return costs(audience, browser.pid, count, () => browser.ask(task));
    };
    measurements.push(...(await inTurns("HTTP GET", audiences, rounds, get)));
    await Promise.all([...browsers.values()].map((browser) => browser.stop()));
    await Promise.all(audiences.map((audience) => audience.stop()));
    return measurements;
  },
};
