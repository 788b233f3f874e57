// `bun run attack`: the attacks for longer, and what the others noticed of them as a table. Exit
// code 1 when the cluster did not stand one of them.

import { parseCommandLine, parseInteger, UsageError } from "../../src/runtime/arguments.ts";
import { allStood, type Outcome, table } from "./report.ts";
import { ATTACKS, Siege } from "./run.ts";

const HELP = `usage: bun run attack [options]
  --seconds N   how long each attack goes on (10)
  --only NAME   this attack alone; repeat it for more
  --seed N      the run to run again (a random one)

attacks: ${ATTACKS.map(({ name }) => name).join(" ")}`;

function orderIn(args: readonly string[]) {
  const flag = { type: "string" } as const;
  const options = { seconds: flag, seed: flag, only: { ...flag, multiple: true } } as const;
  const { values } = parseCommandLine({ args: [...args], options }, HELP);
  const only = values.only ?? [];
  for (const name of only)
    if (!ATTACKS.some((attack) => attack.name === name))
      throw new UsageError(`There is no attack ${name}.\n\n${HELP}`);
  return {
    seconds: parseInteger(values.seconds ?? "10", "--seconds", 1, 3600),
    seed:
      values.seed === undefined
        ? crypto.getRandomValues(new Uint32Array(1))[0]
        : parseInteger(values.seed, "--seed", 0, 0xffff_ffff),
    attacks: ATTACKS.filter(({ name }) => only.length === 0 || only.includes(name)),
  };
}

async function main(): Promise<number> {
  const { seconds, seed, attacks } = orderIn(process.argv.slice(2));
  console.error(`seed ${seed}`);
  const outcomes: Outcome[] = [];
  await using siege = new Siege();
  for (const attack of attacks) {
    const outcome = await siege.attack(attack, seconds, seed);
    outcomes.push(outcome);
    console.error(`${attack.name}: ${outcome.wrong.length === 0 ? "stood" : "FAILED"}`);
  }
  console.log(table(outcomes));
  return allStood(outcomes) ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  console.error(error.message);
  process.exitCode = 2;
}
