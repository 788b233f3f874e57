// A thousand seeds, and the determinism of a run. A seed that fails prints the command that runs it
// again.

import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { run } from "./run.ts";

setDefaultTimeout(300_000);

const RUNS = 1000;

test("whatever goes wrong, nothing is lost, repeated or reordered, and all comes to rest", () => {
  const startedMs = performance.now();
  const failures: string[] = [];
  const sum = { virtualMs: 0, deliveries: 0, relayStarts: 0, gaps: 0 };
  for (let seed = 1; seed <= RUNS; seed++) {
    const outcome = run(seed);
    sum.virtualMs += outcome.virtualMs;
    sum.deliveries += outcome.deliveries;
    sum.relayStarts += outcome.relayStarts;
    sum.gaps += outcome.gaps;
    if (outcome.violations.length === 0) continue;
    failures.push(
      `seed ${seed}: ${outcome.violations[0]} (bun run sim --seed ${seed} --runs 1 --trace)`,
    );
  }
  expect(failures).toEqual([]);
  // The runs had faults, and many deliveries in spite of them.
  expect(sum.relayStarts).toBeGreaterThan(2 * RUNS);
  expect(sum.deliveries).toBeGreaterThan(200 * RUNS);
  expect(sum.gaps).toBeGreaterThan(RUNS / 2);
  const times = sum.virtualMs / (performance.now() - startedMs);
  console.log(`${RUNS} runs, ${Math.round(times)} times as fast as real time`);
  expect(times).toBeGreaterThan(10);
});

test("the same seed is the same run, byte for byte", () => {
  const traceOf = (seed: number) => {
    const lines: string[] = [];
    run(seed, { trace: (line) => lines.push(line) });
    return lines.join("\n");
  };
  for (const seed of [3, 11, 17]) {
    const first = traceOf(seed);
    traceOf(seed + 1);
    expect(first.length).toBeGreaterThan(10_000);
    expect(traceOf(seed) === first).toBe(true);
  }
});

test("bun run sim: a run by hand, and flags that cannot be used", () => {
  const sim = (...flags: string[]) => {
    const ran = Bun.spawnSync([process.execPath, join(import.meta.dir, "main.ts"), ...flags]);
    return { code: ran.exitCode, out: ran.stdout.toString(), err: ran.stderr.toString() };
  };
  const three = sim("--seed", "3", "--runs", "3");
  expect(three.out).toMatch(/^3 runs, 0 failed: \d+ publications/);
  expect(three.code).toBe(0);
  expect(sim("--runs", "x")).toEqual({
    code: 1,
    out: "",
    err: '--runs "x" must be a whole number from 1 to 1000000000.\n',
  });
  expect(sim("--help").out).toContain("--seed N");
});
