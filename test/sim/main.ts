// `bun run sim`: runs the simulation for a range of seeds. A seed that fails prints the command
// that runs it again.

import { parseCommandLine, parseInteger, UsageError } from "../../src/runtime/arguments.ts";
import { run } from "./run.ts";

const HELP = `Simulates whole clusters with random faults, in virtual time.

  bun run sim                     1,000 runs
  bun run sim --seed 7 --trace    one run, with every event

  --seed N    the first seed (1)
  --runs N    how many seeds (1000; 1 with --trace)
  --trace     print every event
  --help      print this`;

function main(): number {
  const { values } = parseCommandLine(
    {
      options: {
        seed: { type: "string", default: "1" },
        runs: { type: "string" },
        trace: { type: "boolean", default: false },
        help: { type: "boolean", short: "h", default: false },
      },
    },
    HELP,
  );
  if (values.help) return say(HELP);
  const seed = parseInteger(values.seed, "--seed", 0, 0xffff_ffff);
  const runs = parseInteger(
    values.runs ?? (values.trace ? "1" : "1000"),
    "--runs",
    1,
    1_000_000_000,
  );
  return simulate(seed, runs, values.trace ? say : undefined);
}

function simulate(
  first: number,
  runs: number,
  trace: ((line: string) => void) | undefined,
): number {
  const startedMs = performance.now();
  const sum = { virtualMs: 0, publications: 0, deliveries: 0, gaps: 0, relayStarts: 0 };
  const rests: number[] = [];
  let failures = 0;
  for (let seed = first; seed < first + runs; seed++) {
    const outcome = run(seed, { trace });
    for (const [name, value] of Object.entries(outcome))
      if (isNumbered(sum, name) && typeof value === "number") sum[name] += value;
    rests.push(outcome.restMs);
    if (outcome.violations.length === 0) continue;
    failures++;
    say(
      `seed ${seed} fails; run it again with: bun run sim --seed ${seed} --runs 1 (--trace prints every event)`,
    );
    for (const line of outcome.violations) say(`  ${line}`);
  }
  rests.sort((a, b) => a - b);
  const tookMs = performance.now() - startedMs;
  const { publications, deliveries, gaps, relayStarts } = sum;
  say(
    `${runs} runs, ${failures} failed: ${publications} publications, ${deliveries} deliveries, ${gaps} gaps told, ${relayStarts} relays started`,
  );
  say(`at rest within ${rests.at(-1)} ms of virtual time (median ${rests[rests.length >>> 1]} ms)`);
  say(
    `${(sum.virtualMs / 1000).toFixed(0)} s simulated in ${(tookMs / 1000).toFixed(1)} s: ${Math.round(sum.virtualMs / tookMs)} times as fast as real time`,
  );
  return failures === 0 ? 0 : 1;
}

const isNumbered = <T extends object>(sums: T, name: string): name is Extract<keyof T, string> =>
  Object.hasOwn(sums, name);

function say(line: string): number {
  process.stdout.write(`${line}\n`);
  return 0;
}

try {
  process.exitCode = main();
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exitCode = 1;
}
