// The simulation catches every planted fault; without it the cores pass.

import { expect, setDefaultTimeout, test } from "bun:test";
import { PLANTED } from "./planted.ts";
import { run } from "./run.ts";

setDefaultTimeout(300_000);

/** Far more than it takes to catch each of them. */
const SEEDS_MAX = 200;

for (const { name, plant, options } of PLANTED)
  test(`caught: ${name}`, () => {
    const remove = plant?.();
    try {
      let caught: readonly string[] = [];
      let seed = 0;
      while (caught.length === 0 && seed < SEEDS_MAX) caught = run(++seed, options).violations;
      expect(caught).not.toEqual([]);
      if (process.env.SHOW) console.log(`${name}: seed ${seed}: ${caught[0].slice(0, 300)}`);
    } finally {
      remove?.();
    }
    expect(run(1, { profile: options?.profile }).violations).toEqual([]);
  });
