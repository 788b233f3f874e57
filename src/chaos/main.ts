// `bun run chaos`: runs a real cluster under load and faults, and reports whether messages were
// lost, repeated or reordered. The exit code is the verdict.

import { parseCommandLine, parseInteger, UsageError } from "../runtime/arguments.ts";
import { isPassed, reportOf } from "./report.ts";
import { type ChaosOptions, runChaos } from "./run.ts";

const HELP = `Starts its own cluster, loads it, kills and stops its processes, and checks that
no messages are lost.

  bun run chaos [flags]

  --seconds N   how long faults are injected (60)
  --clients N   clients, half of them with the SDK, half plain WebSockets (200)
  --channels N  channels that they publish to and subscribe to (20)
  --rate N      publications per second, over all clients (150)
  --seed N      determines the faults and their times (1)
  --nodes N     nodes in the cluster (3)
  --relays N    relays (1)
  --lbs N       lb workers (2)
  --help        print this help

Exit code 0: every acknowledged publication arrived, once and in order.
Exit code 1: one did not, or the cluster did not start.`;

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
  say(`seed ${seed} · ${seconds} s · ${clients} clients · ${channels} channels · ${rate}/s`);
  say(`a cluster of ${nodes} nodes, ${relays} relays, ${lbs} lbs`);
  const verdict = await runChaos(chosen, say);
  for (const line of reportOf(verdict)) say(line);
  return isPassed(verdict) ? 0 : 1;
}

// process.exit runs the "exit" listeners, which end the cluster and remove its folder.
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
