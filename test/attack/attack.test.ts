// Attacks on a real cluster, from outside, each in its short form. Longer, and as a table:
//   bun run attack [--seconds N] [--only NAME]

import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { table } from "./report.ts";
import { ATTACKS, Siege } from "./run.ts";

setDefaultTimeout(90_000);

const siege = new Siege();
afterAll(() => siege[Symbol.asyncDispose]());

for (const attack of ATTACKS)
  test(`the others do not notice: ${attack.name}`, async () => {
    const seed = crypto.getRandomValues(new Uint32Array(1))[0];
    const outcome = await siege.attack(attack, attack.seconds, seed);
    console.log(`seed ${seed}\n${table([outcome])}`);
    expect(outcome.wrong).toEqual([]);
  });
