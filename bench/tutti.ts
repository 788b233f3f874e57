// Starts tutti as its users do: with the cluster command and default settings.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { AdminClient } from "../src/cluster/admin/admin-client.ts";
import { startOnWords, temporaryFolder } from "./processes.ts";

export type Tutti = {
  readonly name: "tutti";
  /** Where clients connect. */
  readonly port: number;
  /** The supervisor, the ancestor of all other processes. */
  readonly pid: number;
  readonly folder: string;
  pidOf(id: string): Promise<number>;
  /** The port of relay-1, from node-1's command line. */
  relayPort(): Promise<number>;
  stop(): Promise<void>;
};

export async function startTutti(
  flags: readonly string[],
  env = {},
  stderr: "inherit" | "ignore" = "inherit",
): Promise<Tutti> {
  const folder = join(temporaryFolder(), "data");
  const main = join(import.meta.dir, "../src/cluster/main.ts");
  const argv = [
    process.execPath,
    main,
    "--port",
    "0",
    "--data",
    folder,
    "--log-level",
    "error",
    ...flags,
  ];
  const { pid, stop, words } = await startOnWords(argv, /ws:\/\/127\.0\.0\.1:(\d+)/, env, stderr);
  const pidOf = async (id: string) => {
    const { processes } = await new AdminClient(folder).status();
    return processes.find((process) => process.id === id)?.pid ?? Number.NaN;
  };
  return {
    name: "tutti",
    port: Number(words[1]),
    pid,
    folder,
    stop,
    pidOf,
    relayPort: async () => {
      const arguments_ = readFileSync(`/proc/${await pidOf("node-1")}/cmdline`, "utf8");
      return Number(/relay-1=127\.0\.0\.1:(\d+)/.exec(arguments_)?.[1]);
    },
  };
}
