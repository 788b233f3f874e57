// The command line: `bun run cluster …`. Runs a command; a failure is one sentence on standard
// error and exit code 1.

import { join } from "node:path";
import { parseInteger, UsageError } from "../runtime/arguments.ts";
import { AdminClient } from "./admin/admin-client.ts";
import { Refusal } from "./files/refusal.ts";
import { countersTable } from "./report/counters-table.ts";
import { statusTable } from "./report/status-text.ts";
import { type Command, HELP, readCommand } from "./settings/command-line.ts";
import { NODES_MAX } from "./settings/config.ts";
import { loadSettings } from "./settings/load-settings.ts";
import { runCluster } from "./start.ts";

const programs = {
  relay: join(import.meta.dirname, "../relay/main.ts"),
  node: join(import.meta.dirname, "../node/main.ts"),
  lb: join(import.meta.dirname, "../lb/main.ts"),
};

/** Runs one command; resolves to the exit code. */
async function run({ name, flags, operand = "" }: Command): Promise<number> {
  switch (name) {
    case "help":
      return print(HELP.trimEnd());
    case "start":
      return runCluster(await loadSettings(flags), programs);
    case "status": {
      const status = await (await adminClientFor(flags)).status();
      if (flags.json === true) return print(JSON.stringify(status));
      return print(
        flags.counters === true ? countersTable(status) : statusTable(status, Date.now()),
      );
    }
    case "scale": {
      const nodes = parseInteger(operand, "scale", 1, NODES_MAX);
      const admin = await adminClientFor(flags);
      await admin.assertSameRelease();
      return print(await admin.run("scale", { nodes }));
    }
    case "drain":
    case "undrain":
      return print(await (await adminClientFor(flags)).run(name, { id: operand }));
    case "restart": {
      const admin = await adminClientFor(flags);
      await admin.assertSameRelease();
      return print(await admin.run("restart", operand === "" ? {} : { id: operand }));
    }
    case "stop":
      await (await adminClientFor(flags)).stop();
      return print("The cluster has stopped.");
    default:
      return name satisfies never;
  }
}

/**
 * The client of the cluster that the flags name. With --data the other settings, which may be
 * broken, are not read.
 */
async function adminClientFor(flags: Command["flags"]): Promise<AdminClient> {
  return new AdminClient(
    typeof flags.data === "string" ? flags.data : (await loadSettings(flags)).data,
  );
}

function print(text: string): number {
  process.stdout.write(`${text}\n`);
  return 0;
}

try {
  process.exit(await run(readCommand(process.argv.slice(2))));
} catch (error) {
  if (!(error instanceof UsageError || error instanceof Refusal)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
}
