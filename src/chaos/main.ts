// `bun run chaos`: runs a real cluster under load and says whether it kept its promise. The
// exit code is the verdict.

import { parseCommandLine, parseInteger, UsageError } from "../runtime/arguments.ts";
import { isPassed, reportOf } from "./report.ts";
import { type ChaosOptions, runChaos } from "./run.ts";

const HELP = `Starts a cluster of its own, loads it, kills and stops its processes, and checks that nothing is lost.

  bun run chaos [flags]

  --seconds N   how long faults are made (60)
  --clients N   clients, half of them by the SDK, half plain WebSockets (200)
  --channels N  channels they publish to and read (20)
  --rate N      publications per second, of all clients together (150)
  --seed N      what decides who is hit, and when (1)
  --nodes N     nodes of the cluster (3)
  --relays N    relays (1)
  --lbs N       lb workers (2)
  --help        this

Exit code 0: every acknowledged publication arrived, once and in order. 1: it did not, or the cluster could not be started.`;

const text = (value: number) => ({ type: "string", default: String(value) }) as const;

function options(): ChaosOptions | undefined {
  const { values } = parseCommandLine(
    {
      options: {
        ...{
          seconds: text(60),
          clients: text(200),
          channels: text(20),
          rate: text(150),
          seed: text(1),
        },
        ...{ nodes: text(3), relays: text(1), lbs: text(2) },
        help: { type: "boolean", short: "h", default: false },
      },
    },
    HELP,
  );
  if (values.help) return undefined;
  return {
    seconds: parseInteger(values.seconds, "--seconds", 1, 86_400),
    clients: parseInteger(values.clients, "--clients", 1, 10_000),
    channels: parseInteger(values.channels, "--channels", 1, 10_000),
    rate: parseInteger(values.rate, "--rate", 1, 10_000),
    seed: parseInteger(values.seed, "--seed", 0, 0xffff_ffff),
    nodes: parseInteger(values.nodes, "--nodes", 1, 64),
    relays: parseInteger(values.relays, "--relays", 1, 16),
    lbs: parseInteger(values.lbs, "--lbs", 1, 16),
  };
}

const say = (line: string) => process.stdout.write(`${line}\n`);

async function run(): Promise<number> {
  const chosen = options();
  if (chosen === undefined) {
    say(HELP);
    return 0;
  }
  const { seed, seconds, clients, channels, rate, nodes, relays, lbs } = chosen;
  say(
    `seed ${seed} · ${seconds} s · ${clients} clients · ${channels} channels · ${rate} publications a second`,
  );
  say(`a cluster of ${nodes} nodes, ${relays} relays, ${lbs} lbs`);
  const verdict = await runChaos(chosen, say);
  for (const line of reportOf(verdict)) say(line);
  return isPassed(verdict) ? 0 : 1;
}

// So that what "exit" does is done: the cluster and its folder go with us.
for (const [signal, code] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
] as const)
  process.on(signal, () => process.exit(code));

try {
  process.exit(await run());
} catch (error) {
  process.stderr.write(`${error instanceof UsageError ? error.message : Bun.inspect(error)}\n`);
  process.exit(1);
}
