// Runs the inputs in a thread of its own, so that the main thread can detect a hang.

import { parentPort, workerData } from "node:worker_threads";
import { answersToTheClient, requestsInJson, requestsInMsgpack } from "./client-targets.ts";
import { httpAnswers, httpRequests } from "./http-targets.ts";
import { journals } from "./journal-target.ts";
import { badInput } from "./mutate.ts";
import { orderShape, type Word } from "./order.ts";
import { proxyHeaders } from "./proxy-target.ts";
import { randomFrom } from "./random.ts";
import { frames, relayMembers, relayStrangers } from "./relay-targets.ts";
import type { Target } from "./target.ts";

const TARGETS: readonly Target[] = [
  ...[frames, relayMembers, relayStrangers, requestsInJson, requestsInMsgpack, answersToTheClient],
  ...[httpRequests, httpAnswers, proxyHeaders, journals],
];

const { seed, inputs, target: wanted, only, progress } = orderShape(workerData, "workerData");
const say = (word: Word) => parentPort?.postMessage(word);

/** Memory after a full collection, in MB. */
function memoryMb(): number {
  Bun.gc(true);
  return process.memoryUsage().rss / 1024 / 1024;
}

function run(target: Target, input: number): void {
  Atomics.store(progress, 0, input);
  const random = randomFrom(seed, target.name, input);
  const bytes = badInput(target.good, random);
  try {
    target.take(bytes, random);
  } catch (error) {
    const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
    say({ type: "failed", target: target.name, input, message });
  }
}

function runAll(target: Target, count: number): void {
  const startedMs = performance.now();
  const warmUp = Math.ceil(count / 4);
  for (let input = 0; input < warmUp; input++) run(target, input);
  const beforeMb = memoryMb();
  for (let input = warmUp; input < count; input++) run(target, input);
  const grownMb = memoryMb() - beforeMb;
  say({
    type: "done",
    target: target.name,
    inputs: count,
    ms: performance.now() - startedMs,
    grownMb,
  });
}

const chosen = TARGETS.filter(({ name }) => wanted === "" || wanted === name);
const shares = chosen.reduce((sum, { share }) => sum + share, 0);
for (const target of chosen) {
  say({ type: "begun", target: target.name });
  if (only >= 0) run(target, only);
  else runAll(target, Math.ceil((inputs * target.share) / shares));
}
say({ type: "over", targets: chosen.length });
