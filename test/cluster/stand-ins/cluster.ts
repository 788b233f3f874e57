// `cluster start` with stand-ins for the roles: bun cluster.ts RELAY NODE LB [flags]. What it tests
// is the supervision itself.

import { join } from "node:path";
import { Refusal } from "../../../src/cluster/files/refusal.ts";
import { readCommand } from "../../../src/cluster/settings/command-line.ts";
import { loadSettings } from "../../../src/cluster/settings/load-settings.ts";
import { runCluster } from "../../../src/cluster/start.ts";

const [relay = "well", node = "well", lb = "well", ...flags] = process.argv.slice(2);
const script = (name: string) => join(import.meta.dirname, `${name}.ts`);
try {
  const settings = await loadSettings(readCommand(["start", ...flags]).flags);
  process.exit(
    await runCluster(settings, { relay: script(relay), node: script(node), lb: script(lb) }),
  );
} catch (error) {
  if (!(error instanceof Refusal)) throw error;
  process.stderr.write(`${error.message}\n`);
  process.exit(1);
}
