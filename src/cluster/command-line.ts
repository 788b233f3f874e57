// The words after `bun run cluster`: what may be typed, and what is said about everything else.
// Pure.

import { parseCommandLine, UsageError } from "../runtime/arguments.ts";
import { SETTING_FLAGS } from "./config.ts";

export const HELP = `A WebSocket cluster in a box.

  bun run cluster [start]      start a cluster here; Ctrl-C stops it
  bun run cluster status       show its processes (--counters: what the lbs have counted; --json: all of it, for programs)
  bun run cluster scale N      start nodes, or drain and stop them, until there are N
  bun run cluster drain ID     send a node's clients elsewhere and give it no new ones
  bun run cluster undrain ID   give it clients again
  bun run cluster restart      restart the nodes, one after another
  bun run cluster restart ID   restart one process
  bun run cluster stop         stop the cluster in order; returns when it is gone

Flags of start
  --nodes N          nodes to start (2)
  --host HOST        where clients connect (127.0.0.1)
  --port PORT        0 lets the system choose (8080)
  --app FILE         your app; without one, the default app
  --open             serve a public --host although the app lets everyone in
  --relays N         relays that share the channels (1)
  --lb-workers N     lb processes that share the port (1)
  --memory-mb MB     each relay's memory for history (128)
  --fsync            survive power loss too, not only killed processes
  --log-level LEVEL  debug, info, warn, error or silent (info)
  --tls-cert FILE    speak TLS with this certificate (PEM), and its --tls-key FILE; repeat both for more names
  --trust NETWORK    a proxy in front whose X-Forwarded-* is believed, such as 10.0.0.0/8 (repeat)
  --proxy-protocol   these proxies send a PROXY header
  --access-log FILE  a JSON line for each request and each WebSocket
  --lb-flags TEXT    any other flags of the lb, such as "--head-timeout-ms 5000" (bun run lb --help lists them)

Flags of every command
  --data FOLDER      the cluster's folder, which says what cluster is meant (.tutti)
  --config FILE      settings in a file: export default { nodes: 4 } (tutti.config.ts, where there is one)

Flags win over environment variables (TUTTI_NODES=4; commas between several), these over the config file (arrays for several).
`;

const HINT = 'Type "bun run cluster --help" to see what there is.';

/** What each command takes after its name. */
const COMMANDS = {
  start: { operandsMin: 0, operandsMax: 0, operand: "" },
  status: { operandsMin: 0, operandsMax: 0, operand: "" },
  scale: { operandsMin: 1, operandsMax: 1, operand: "a number of nodes, such as scale 4" },
  drain: { operandsMin: 1, operandsMax: 1, operand: "the id of a node, such as drain node-2" },
  undrain: { operandsMin: 1, operandsMax: 1, operand: "the id of a node, such as undrain node-2" },
  restart: { operandsMin: 0, operandsMax: 1, operand: "" },
  stop: { operandsMin: 0, operandsMax: 0, operand: "" },
} as const;
export type CommandName = keyof typeof COMMANDS | "help";

export type Command = {
  readonly name: CommandName;
  readonly flags: Readonly<Record<string, unknown>>;
  readonly operand: string | undefined;
};

/** Reads the typed words; throws UsageError where they are no command. */
export function readCommand(typed: readonly string[]): Command {
  if (typed.includes("--help") || typed.includes("-h"))
    return { name: "help", flags: {}, operand: undefined };
  const isNamed = typed.length > 0 && !typed[0].startsWith("-");
  const name = isNamed ? typed[0] : "start";
  if (!isCommand(name)) throw new UsageError(`There is no command "${name}". ${HINT}`);
  const args = joined(typed.slice(isNamed ? 1 : 0), "--lb-flags");
  const options = flagsOf(name);
  const { values, positionals } = parseCommandLine(
    { args, options, allowPositionals: true, allowNegative: true },
    HINT,
  );
  const { operandsMin, operandsMax, operand } = COMMANDS[name];
  if (positionals.length < operandsMin) throw new UsageError(`"${name}" needs ${operand}.`);
  if (positionals.length > operandsMax)
    throw new UsageError(
      `"${name}" does not take "${positionals[operandsMax]}" (a command comes first). ${HINT}`,
    );
  return { name, flags: values, operand: positionals[0] };
}

/** A flag and its value as one word: parseArgs refuses values that look like flags. */
function joined(args: readonly string[], flag: string): string[] {
  const at = args.indexOf(flag);
  return at < 0 || at === args.length - 1
    ? [...args]
    : [...args.slice(0, at), `${flag}=${args[at + 1]}`, ...args.slice(at + 2)];
}

const isCommand = (word: string): word is keyof typeof COMMANDS => Object.hasOwn(COMMANDS, word);

function flagsOf(
  name: keyof typeof COMMANDS,
): Record<string, { type: "string" | "boolean"; multiple?: boolean }> {
  const common = { data: SETTING_FLAGS.data, config: { type: "string" } } as const;
  if (name === "start") return { ...SETTING_FLAGS, ...common };
  return name === "status"
    ? { ...common, json: { type: "boolean" }, counters: { type: "boolean" } }
    : common;
}
