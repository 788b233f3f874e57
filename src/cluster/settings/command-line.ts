// The command line of `bun run cluster`: commands, flags and help. Pure.

import { parseCommandLine, UsageError } from "../../runtime/arguments";
import { table } from "../report/status-text";
import { SETTING_FLAGS, settingNames } from "./config";

export const HELP = `A WebSocket cluster in a box.

  bun run cluster [start]      start a cluster here; Ctrl-C stops it
  bun run cluster status       show its processes (--counters: the lbs' counters; --json: as JSON)
  bun run cluster scale N      start nodes, or drain and stop them, until there are N
  bun run cluster drain ID     move a node's clients to other nodes and give it no new ones
  bun run cluster undrain ID   give a drained node clients again
  bun run cluster restart      replace the nodes, one after another, by new ones
  bun run cluster restart ID   replace one node or lb, or restart a relay
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

${table([
  ["Flag", "Variable", "In the config file"],
  ...settingNames(),
  ["--config", "TUTTI_CONFIG", ""],
])
  .map((line) => `  ${line}`)
  .join("\n")}
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
  const options = flagsOf(name);
  const given = typed.slice(isNamed ? 1 : 0);
  const { args, negatives } = withoutDashes(given, options);
  const { values, positionals: words } = parseCommandLine(
    { args, options, allowPositionals: true, allowNegative: true },
    HINT,
  );
  const positionals = [...words, ...negatives];
  const { operandsMin, operandsMax, operand } = COMMANDS[name];
  if (positionals.length < operandsMin) throw new UsageError(`"${name}" needs ${operand}.`);
  if (positionals.length > operandsMax)
    throw new UsageError(
      `"${name}" does not take "${positionals[operandsMax]}" (a command comes first). ${HINT}`,
    );
  return { name, flags: values, operand: positionals[0] };
}

type FlagOptions = Record<string, { type: "string" | "boolean"; multiple?: boolean }>;

/**
 * What parseArgs would take for flags: the values of --lb-flags, and negative numbers, which are
 * joined to their flag or, as operands, set apart.
 */
function withoutDashes(
  typed: readonly string[],
  options: FlagOptions,
): { args: string[]; negatives: string[] } {
  const args: string[] = [];
  const negatives: string[] = [];
  for (const word of typed) {
    const flag = args.at(-1) ?? "";
    const isValue = flag.startsWith("--") && options[flag.slice(2)]?.type === "string";
    const isNegative = /^-\d/.test(word);
    if (isValue && (isNegative || (flag === "--lb-flags" && word.startsWith("-"))))
      args[args.length - 1] = `${flag}=${word}`;
    else if (isNegative) negatives.push(word);
    else args.push(word);
  }
  return { args, negatives };
}

const isCommand = (word: string): word is keyof typeof COMMANDS => Object.hasOwn(COMMANDS, word);

function flagsOf(name: keyof typeof COMMANDS): FlagOptions {
  const common = { data: SETTING_FLAGS.data, config: { type: "string" } } as const;
  if (name === "start") return { ...SETTING_FLAGS, ...common };
  return name === "status"
    ? { ...common, json: { type: "boolean" }, counters: { type: "boolean" } }
    : common;
}
