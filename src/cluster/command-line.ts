// The command line of `bun run cluster`: commands, flags and help. Pure.

import { parseCommandLine, UsageError } from "../runtime/arguments.ts";
import { SETTING_FLAGS } from "./config.ts";

export const HELP = `A WebSocket cluster in a box.

  bun run cluster [start]      start a cluster here; Ctrl-C stops it
  bun run cluster status       show its processes (--counters: the lbs' counters; --json: for programs)
  bun run cluster scale N      start nodes, or drain and stop them, until there are N
  bun run cluster drain ID     move a node's clients to other nodes and give it no new ones
  bun run cluster undrain ID   give a drained node clients again
  bun run cluster restart      restart the nodes, one after another
  bun run cluster restart ID   restart one process
  bun run cluster stop         stop the cluster gracefully; returns when it is gone

Flags of start
  --nodes N          nodes to start (2)
  --host HOST        where clients connect (127.0.0.1)
  --port PORT        0 lets the system choose (8080)
  --app FILE         your app; without one, the default app
  --open             allow a public --host with an app that lets everyone in
  --relays N         relays that share the channels (1)
  --lb-workers N     lb processes that share the port (1)
  --memory-mb MB     each relay's memory for history (128)
  --fsync            survive power loss, not only killed processes
  --log-level LEVEL  debug, info, warn, error or silent (info)
  --tls-cert FILE    serve TLS with this certificate (PEM)
  --tls-key FILE     and its private key; repeat both flags for more certificates
  --public-host HOST the host that pages connect to, with its port unless usual (repeat)
  --trust NETWORK    trust X-Forwarded-* from this network, such as 10.0.0.0/8 (repeat)
  --proxy-protocol   the trusted proxies send a PROXY header
  --access-log FILE  write a JSON line for each request and WebSocket
  --lb-flags TEXT    other flags of the lb, such as "--head-timeout-ms 5000" (see bun run lb --help)

Flags of every command
  --data FOLDER      the cluster's data folder, which identifies it (.tutti)
  --config FILE      settings: export default { nodes: 4 } (tutti.config.ts, if it exists)

Flags override environment variables (TUTTI_NODES=4), which override the config file.
Lists are separated by commas in variables and are arrays in the config file.
`;

const HINT = 'See "bun run cluster --help".';

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

/** Parses the arguments; throws UsageError. */
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

/** Joins a flag and its value: parseArgs refuses values that look like flags. */
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
