// `bun run bench`: measures every question, prints its table, and writes tables, plots and raw
// samples to bench/results.

import { mkdirSync, readFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { parseCommandLine, parseInteger, UsageError } from "../src/runtime/arguments.ts";
import { broker } from "./broker.ts";
import { comeBack } from "./come-back.ts";
import { fanOut } from "./fan-out.ts";
import { growth } from "./growth.ts";
import { idle } from "./idle.ts";
import { lb } from "./lb.ts";
import { manyChannels } from "./many-channels.ts";
import { drawing } from "./plot.ts";
import { peerVersion, versionOf } from "./processes.ts";
import { type Question, tableOf } from "./question.ts";
import { requests } from "./requests.ts";
import { restart } from "./restart.ts";

const QUESTIONS: readonly Question[] = [
  fanOut,
  manyChannels,
  broker,
  lb,
  idle,
  comeBack,
  restart,
  requests,
  growth,
];
const ROUNDS = 5;
const ROUNDS_QUICK = 2;
const RESULTS = join(import.meta.dir, "results");

const HELP = `Usage: bun run bench [--quick] [--rounds N] [--only QUESTION …]

Compares tutti with what it replaces, on this machine. bench/setup installs the others; a missing
one is skipped.

  --quick      under three minutes: fewer rounds, fewer cases
  --rounds N   measurements of each contestant in each case (${ROUNDS})
  --only NAME  ${QUESTIONS.map(({ name }) => name).join(", ")} (repeat)`;

function options() {
  const { values } = parseCommandLine(
    {
      options: {
        help: { type: "boolean", default: false },
        quick: { type: "boolean", default: false },
        rounds: { type: "string" },
        only: { type: "string", multiple: true, default: [] },
      },
    },
    HELP,
  );
  if (values.help) return undefined;
  const unknown = values.only.find((name) => !QUESTIONS.some((question) => question.name === name));
  if (unknown !== undefined) throw new UsageError(`There is no question "${unknown}".\n\n${HELP}`);
  const rounds =
    values.rounds === undefined ? undefined : parseInteger(values.rounds, "--rounds", 1, 1000);
  return {
    isQuick: values.quick,
    rounds: rounds ?? (values.quick ? ROUNDS_QUICK : ROUNDS),
    questions: QUESTIONS.filter(
      ({ name }) => values.only.length === 0 || values.only.includes(name),
    ),
  };
}

/** The machine and the versions that were measured. */
async function machine(): Promise<string> {
  const memoryGb =
    Number(/MemTotal: +(\d+)/.exec(readFileSync("/proc/meminfo", "utf8"))?.[1]) / 1024 / 1024;
  const [{ model }] = cpus();
  const packages = ["ws", "redis", "socket.io", "@socket.io/redis-adapter", "socketcluster-server"];
  const versions = [
    ["Bun", Bun.version],
    ["Node", versionOf("node")],
    ["haproxy", versionOf("haproxy", "-v")],
    ["nginx", versionOf("nginx", "-v")],
    ["redis-server", versionOf("redis-server")],
    ["nats-server", versionOf("nats-server")],
    ...(await Promise.all(packages.map(async (name) => [name, await peerVersion(name)]))),
  ];
  return [
    `${cpus().length} × ${model}, ${memoryGb.toFixed(0)} GB`,
    ...versions.map(([name, version]) => `${name} ${version ?? "is not installed: skipped"}`),
  ].join(" · ");
}

async function main(): Promise<void> {
  const chosen = options();
  if (chosen === undefined) return console.log(HELP);
  const { isQuick, rounds, questions } = chosen;
  const where = await machine();
  console.log(`${where}\n`);
  mkdirSync(join(RESULTS, "raw"), { recursive: true });
  for (const question of questions) {
    console.log(`## ${question.asks}\n\n${question.method}\n`);
    const scale = { isQuick, rounds, note: (text: string) => console.error(`   ${text}`) };
    const measurements = await question.run(scale);
    const table = tableOf(question, measurements);
    console.log(`${table}\n`);
    const { name, asks, method } = question;
    const file = isQuick ? `${name}.quick` : name;
    await Bun.write(
      join(RESULTS, "raw", `${file}.json`),
      JSON.stringify({ name, asks, where, rounds, measurements }, null, 1),
    );
    if (isQuick) continue;
    await Bun.write(
      join(RESULTS, `${name}.md`),
      `# ${asks}\n\n${method} ${rounds} rounds; median (min – max).\n\n${table}\n\n${where}\n`,
    );
    await Bun.write(join(RESULTS, `${name}.svg`), `${drawing(question, measurements)}\n`);
  }
  process.exit(0);
}

main().catch((error: unknown) => {
  console.error(error instanceof UsageError ? error.message : error);
  process.exit(1);
});
