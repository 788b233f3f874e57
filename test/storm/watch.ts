// Observes a cluster's processes from outside: the relay's counters, and memory.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { counts as countsShape, isRecord } from "../../src/wire/shape.ts";
import type { Cluster } from "../cluster/start.ts";
import { eventually } from "../eventually.ts";

/** The counters that the cluster's only relay logs on SIGUSR2. */
export async function relayCounts(cluster: Cluster): Promise<Record<string, number>> {
  const file = join(cluster.dataDir, "logs/relay-1.log");
  const from = readFileSync(file, "utf8").length;
  await cluster.kill("relay-1", "SIGUSR2");
  const said: unknown = JSON.parse(
    await eventually(
      () =>
        readFileSync(file, "utf8")
          .slice(from)
          .split("\n")
          .find((line) => line.endsWith('"msg":"counts"}')) ?? "",
    ),
  );
  if (!isRecord(said)) throw new Error("a log line is not an object");
  const numbers = Object.entries(said).filter(
    ([name, value]) => typeof value === "number" && name !== "level",
  );
  return countsShape(20)(Object.fromEntries(numbers), "counts");
}

/** The resident memory of a process, in MB. */
export const rssMb = (pid: number): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1]) / 1024;

/** The value below which `share` of the values lie; NaN without values. */
export function quantile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? Number.NaN;
}
