// `bun run fuzz`: bad input for every decoder, in this process. No decoder may throw an unexpected
// error, hang, or leak memory. A failure prints the command that repeats it.

import { Worker } from "node:worker_threads";
import { parseCommandLine, parseInteger, UsageError } from "../../src/runtime/arguments.ts";
import type { Order, Word } from "./order.ts";

const HELP = `usage: bun run fuzz [options]
  --inputs N      inputs over all targets (50000)
  --seed N        seed of the run (random)
  --target NAME   run only this target
  --only N        run only this input`;

/** An input that takes longer than this counts as a hang. */
const HANG_MS = 20_000;
const LOOK_MS = 500;
/** Allowed memory growth per target, for any number of inputs. */
const GROWTH_MB_MAX = 64;
const FAILURES_SHOWN = 5;

function orderIn(args: readonly string[]): Order {
  const flag = { type: "string" } as const;
  const options = { inputs: flag, seed: flag, target: flag, only: flag };
  const { values } = parseCommandLine({ args: [...args], options }, HELP);
  const number = (name: "inputs" | "seed" | "only", byDefault: number, min: number, max: number) =>
    values[name] === undefined ? byDefault : parseInteger(values[name], `--${name}`, min, max);
  return {
    inputs: number("inputs", 50_000, 1, 1e12),
    seed: number("seed", crypto.getRandomValues(new Uint32Array(1))[0], 0, 0xffff_ffff),
    target: values.target ?? "",
    only: number("only", -1, 0, 1e12),
    progress: new Int32Array(new SharedArrayBuffer(4)),
  };
}

/** Runs the inputs; resolves to the number of failures. */
function fuzz(order: Order): Promise<number> {
  const { seed, progress } = order;
  const { promise, resolve } = Promise.withResolvers<number>();
  const worker = new Worker(new URL("./worker.ts", import.meta.url), { workerData: order });
  let [failures, running, seenInput, seenAtMs] = [0, "", -1, performance.now()];
  let shown = 0;
  const reportFailure = (target: string, input: number, what: string) => {
    failures++;
    if (++shown > FAILURES_SHOWN) return;
    console.log(
      `\nFAILED ${target}: ${what}\n  again: bun run fuzz --seed ${seed} --target ${target} --only ${input}`,
    );
  };
  const watch = setInterval(() => {
    const input = Atomics.load(progress, 0);
    if (input !== seenInput) [seenInput, seenAtMs] = [input, performance.now()];
    if (performance.now() - seenAtMs < HANG_MS) return;
    reportFailure(running, input, `it hangs (more than ${HANG_MS} ms)`);
    end();
  }, LOOK_MS);
  const end = () => {
    clearInterval(watch);
    resolve(failures);
  };
  worker.on("message", (word: Word) => {
    if (word.type === "begun") [running, shown, seenAtMs] = [word.target, 0, performance.now()];
    else if (word.type === "failed") reportFailure(word.target, word.input, word.message);
    else if (word.type === "done") {
      const perSecond = Math.round((word.inputs / word.ms) * 1000);
      console.log(
        `${word.target.padEnd(24)} ${word.inputs} inputs, ${perSecond}/s, memory +${word.grownMb.toFixed(1)} MB`,
      );
      if (word.grownMb > GROWTH_MB_MAX)
        reportFailure(word.target, 0, `memory grew by ${word.grownMb.toFixed(0)} MB`);
    } else if (word.targets === 0) {
      reportFailure(order.target, 0, "there is no such target");
      end();
    } else end();
  });
  worker.on("error", (error: unknown) => {
    reportFailure(
      running,
      Atomics.load(progress, 0),
      error instanceof Error ? (error.stack ?? "") : String(error),
    );
    end();
  });
  return promise;
}

try {
  const order = orderIn(process.argv.slice(2));
  console.log(`seed ${order.seed}`);
  const failures = await fuzz(order);
  console.log(failures === 0 ? "no failures" : `${failures} failures`);
  process.exit(failures === 0 ? 0 : 1);
} catch (error) {
  if (!(error instanceof UsageError)) throw error;
  console.error(error.message);
  process.exit(1);
}
