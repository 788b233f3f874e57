// Question "come-back": one of four servers is killed. Measures when its clients receive messages
// again, and how many they missed.

import type { Kind } from "./load/protocols.ts";
import { type Figures, inTurns } from "./measure.ts";
import { Load } from "./processes.ts";
import type { Question } from "./question.ts";
import { startStacks } from "./stacks.ts";

const RATE = 50;
const SECONDS = 5;
const KILLED_AFTER_MS = 1000;
const KINDS: readonly Kind[] = ["tutti", "classic", "socketIo"];

/** Whether a killed server restarts depends on its stack, so each round has a new stack. */
async function killOne(kind: Kind, clients: number): Promise<Figures> {
  const [stack] = await startStacks([kind]);
  if (stack === undefined) return {};
  const load = new Load("come-back.ts");
  await load.ask({ kind: "open", protocol: kind, port: stack.port, clients });
  const published = load.ask({ kind: "publish", rate: RATE, seconds: SECONDS });
  await Bun.sleep(KILLED_AFTER_MS);
  const victim = await stack.victim();
  if (victim !== undefined) process.kill(victim, "SIGKILL");
  const figures = await published;
  await load.stop();
  await stack.stop();
  return figures;
}

export const comeBack: Question = {
  name: "come-back",
  asks: "What do clients notice when a server is killed?",
  method: `Four servers, ${RATE} publications per second to all clients, SIGKILL to one server after ${KILLED_AFTER_MS / 1000} s, ${SECONDS} s in all. Clients reconnect as their library does (tutti, Socket.IO) or as tutorials do (after 1 s). The publisher is such a client too. Times count from the first disconnect; lost and repeated deliveries are summed over all clients.`,
  columns: [
    { figure: "cut", title: "disconnected", digits: 0 },
    { figure: "halfMs", title: "50 % back, ms", digits: 0 },
    { figure: "mostMs", title: "95 % back, ms", digits: 0 },
    { figure: "allMs", title: "all back, ms", digits: 0 },
    { figure: "lost", title: "deliveries lost", digits: 0 },
    { figure: "repeats", title: "repeated", digits: 0 },
  ],
  plot: { figure: "mostMs", title: "95 % of the clients receive again, ms", kind: "bars" },

  async run({ isQuick, rounds }) {
    const clients = isQuick ? 100 : 400;
    const contestants = KINDS.map((kind) => ({ kind, name: kind }));
    return inTurns(`${clients} clients`, contestants, isQuick ? 1 : rounds, ({ kind }) =>
      killOne(kind, clients),
    );
  },
};
