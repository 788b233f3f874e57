// Question "idle": the memory of an idle connection, and the rate of new connections.

import { Audience } from "./audience.ts";
import {
  type Figures,
  inTurns,
  type Measurement,
  memoryKbOf,
  Stopwatch,
  treesOf,
} from "./measure.ts";
import type { Question } from "./question.ts";
import { kindsFor, type Stack, startStacks, tutti } from "./stacks.ts";

const CONNECTIONS = 9000;
const CONNECTIONS_QUICK = 1000;
const WARM_UP = 200;
/** For two lb workers and a load generator with 20,000 file descriptors each. */
const CONNECTIONS_TWO_WORKERS = 18_000;

const memoryKb = ({ pids }: Stack): number => memoryKbOf(treesOf(pids));

async function fill(audience: Audience, connections: number): Promise<Figures> {
  await audience.connect(WARM_UP);
  const before = memoryKb(audience.stack);
  const watch = new Stopwatch(audience.stack.pids);
  await audience.connect(connections);
  const more = connections - WARM_UP;
  const { seconds, cpuUs } = watch;
  const kb = (memoryKb(audience.stack) - before) / more;
  await audience.connect(0);
  return { kb, connectUs: cpuUs / more, perSecond: more / seconds };
}

const inWords = (connections: number): string =>
  `${connections.toLocaleString("en-US")} connections`;

export const idle: Question = {
  name: "idle",
  asks: "What does an idle connection cost?",
  method:
    "Connections that are open and silent. Memory is the private pages of all processes of the stack, without the kernel's part, which is the same for all. Each stack is filled once, because used memory is not returned at once. A process may open 20,000 files here, and a load balancer needs two for each connection.",
  columns: [
    { figure: "kb", title: "KB per connection, whole stack", digits: 1 },
    { figure: "connectUs", title: "CPU to connect, µs", digits: 0 },
    { figure: "perSecond", title: "connections per second", digits: 0 },
  ],
  plot: { figure: "kb", title: "KB per connection, whole stack", kind: "bars" },

  async run({ isQuick }) {
    const connections = isQuick ? CONNECTIONS_QUICK : CONNECTIONS;
    const audiences = await Audience.all(await startStacks(kindsFor(isQuick)));
    const measurements: Measurement[] = await inTurns(
      inWords(connections),
      audiences,
      1,
      (audience) => fill(audience, connections),
    );
    await Promise.all(audiences.map((audience) => audience.stop()));
    if (isQuick) return measurements;
    const large = await Audience.of(
      await tutti("tutti, 2 lb workers", ["--nodes", "4", "--lb-workers", "2"]),
    );
    const take = () => fill(large, CONNECTIONS_TWO_WORKERS);
    measurements.push(...(await inTurns(inWords(CONNECTIONS_TWO_WORKERS), [large], 1, take)));
    await large.stop();
    return measurements;
  },
};
