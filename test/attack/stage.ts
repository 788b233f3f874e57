// A cluster with bystanders, on which attacks take place one after the other; what each attack has
// cost the others is read from outside: from the bystanders, `status`, the logs and /proc.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { layout } from "../../src/cluster/files/data-folder.ts";
import type { ProcessStatus } from "../../src/cluster/report/status.ts";
import { type Cluster, isRunning, startCluster } from "../cluster/start.ts";
import { eventually } from "../eventually.ts";
import { type Random, randomFrom } from "../fuzz/random.ts";
import { quantile } from "../storm/watch.ts";
import { Attacker } from "./attacker.ts";
import { Bystanders, type Notes } from "./bystanders.ts";
import { MemoryWatch } from "./memory-watch.ts";
import { add, type Outcome, type Tally } from "./report.ts";

export const NODES = 2;
const MEMORY_MB = "32";
const BACK_WITHIN_MS = 20_000;
const CALM_WITHIN_MS = 10_000;
const SETTLE_WITHIN_MS = 15_000;

/** What an attack gets to work with. */
export type Target = {
  readonly cluster: Cluster;
  readonly address: string;
  readonly relayPort: number;
  readonly seconds: number;
  readonly random: Random;
  readonly told: Tally;
  readonly wrong: string[];
};

export type Attack = {
  readonly name: string;
  /** Processes that the attack itself ends, and whose links and clients end with them. */
  readonly ends?: readonly string[];
  /** The codes with which bystanders may be closed by it, beyond those that its victims bring. */
  readonly closes?: readonly number[];
  /** How long it takes in its short form; longer where it is told. */
  readonly seconds: number;
  /** Does it; resolves to what was done, in words. */
  run(target: Target): Promise<string>;
};

const NO_NOTES: Notes = {
  latenciesMs: [],
  published: 0,
  acknowledged: 0,
  delivered: 0,
  expected: 0,
  closed: {},
  wrong: ["the bystanders cannot be asked"],
};

export class Stage implements AsyncDisposable {
  readonly #cluster: Cluster;
  readonly #address: string;
  readonly #relayPort: number;

  static async open(): Promise<Stage> {
    const cluster = await startCluster({
      nodes: NODES,
      app: join(import.meta.dir, "app.ts"),
      args: ["--memory-mb", MEMORY_MB],
    });
    return new Stage(cluster, await relayPortOf(cluster));
  }

  private constructor(cluster: Cluster, relayPort: number) {
    this.#cluster = cluster;
    this.#address = cluster.address;
    this.#relayPort = relayPort;
  }

  /** Carries the attack out, and looks at what is left. Throws nothing that the attack is to blame for. */
  async run(attack: Attack, seconds: number, seed: number): Promise<Outcome> {
    const cluster = this.#cluster;
    await using bystanders = await Bystanders.open(this.#address, NODES);
    const before = (await cluster.status()).processes;
    const lostBefore = lostLinks(cluster.dataDir);
    using memory = new MemoryWatch(before);
    const told: Tally = {};
    const wrong: string[] = [];
    const target: Target = {
      cluster,
      address: this.#address,
      relayPort: this.#relayPort,
      random: randomFrom(seed, attack.name),
      seconds,
      told,
      wrong,
    };
    const did = await attack.run(target).catch((error: unknown) => {
      wrong.push(`the attack ended: ${error}`);
      return attack.name;
    });
    const after = await this.#comesBack(wrong);
    const settleMs = isRunning(cluster.pid) ? SETTLE_WITHIN_MS : 0;
    const notes = await bystanders.stop(settleMs).catch(() => NO_NOTES);
    if (isRunning(cluster.pid)) await this.#serves(wrong);
    const memoryMb = await memory.calm(after, wrong);
    const ends = attack.ends ?? [];
    const lost = lostLinks(cluster.dataDir).slice(lostBefore.length);
    if (lost.length > 0 && !ends.includes("relay-1"))
      wrong.push(`${lost.length} times a link to the relay was lost, as in ${lost.at(-1)}`);
    const { acknowledged, delivered, published, expected } = notes;
    if (acknowledged !== published) wrong.push(`${published - acknowledged} never acknowledged`);
    if (delivered !== expected) wrong.push(`${delivered} delivered of ${expected}`);
    return {
      attack: attack.name,
      did,
      told,
      p50Ms: quantile(notes.latenciesMs, 0.5),
      p99Ms: quantile(notes.latenciesMs, 0.99),
      acknowledged,
      delivered,
      published,
      expected,
      closed: notes.closed,
      restarts: restarts(before, after, ends, wrong),
      memoryMb,
      wrong: [...wrong, ...notes.wrong, ...closedWrongly(notes.closed, attack)],
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#cluster[Symbol.asyncDispose]();
  }

  /** All processes are up again. */
  async #comesBack(wrong: string[]): Promise<readonly ProcessStatus[]> {
    const look = () =>
      this.#cluster.status().then(
        ({ processes }) => processes,
        () => [],
      );
    const isUp = (processes: readonly ProcessStatus[]) =>
      !isRunning(this.#cluster.pid) ||
      (processes.length > 0 && processes.every(({ state }) => state === "up"));
    const patience = { withinMs: BACK_WITHIN_MS, what: "the cluster" };
    await eventually(look, isUp, patience).catch(async () => {
      const states = (await look()).map(({ id, state }) => `${id} ${state}`);
      wrong.push(`not all is up again: ${states.join(", ")}`);
    });
    if (!isRunning(this.#cluster.pid)) wrong.push("the cluster's command has ended");
    return await look();
  }

  /** A newcomer can publish. */
  async #serves(wrong: string[]): Promise<void> {
    const newcomer = async () => {
      using client = await Attacker.open(this.#address);
      const message = { type: "publish", id: 1, channel: "room:after", data: "still there?" };
      return (await client.ask(message))?.type;
    };
    const isServed = () => newcomer().catch(() => undefined);
    await eventually(isServed, (type) => type === "ok", { withinMs: CALM_WITHIN_MS }).catch(
      (error) => wrong.push(`a newcomer cannot publish: ${error}`),
    );
  }
}

/** Nodes are started with the relay's address. */
async function relayPortOf(cluster: Cluster): Promise<number> {
  const { pid } = await cluster.process("node-1");
  const line = readFileSync(`/proc/${pid}/cmdline`, "utf8");
  return Number(/relay-1=[^\0]*:(\d+)/.exec(line)?.[1]);
}

/** What nodes and lbs have said about links that were up and are lost. */
function lostLinks(dataDir: string): string[] {
  const { logFolder } = layout(dataDir);
  return readdirSync(logFolder)
    .filter((name) => /^(node|lb)-/.test(name))
    .flatMap((name) => readFileSync(join(logFolder, name), "utf8").split("\n"))
    .filter((line) => line.includes("link lost") || line.includes("lost the relay"));
}

function restarts(
  before: readonly ProcessStatus[],
  after: readonly ProcessStatus[],
  ends: readonly string[],
  wrong: string[],
): Tally {
  const tally: Tally = {};
  for (const { id, pid, restarts } of before) {
    const now = after.find((each) => each.id === id);
    const count = (now?.restarts ?? restarts) - restarts;
    if (count > 0) add(tally, id, count);
    if (now !== undefined && now.pid !== pid && !ends.includes(id))
      wrong.push(`${id} is another process now`);
  }
  return tally;
}

/** A bystander may lose its connection only with its node, or as the attack says. */
function closedWrongly(closed: Tally, { ends = [], closes = [] }: Attack): string[] {
  return Object.entries(closed)
    .filter(([name]) => !closes.includes(Number(name.split(" ")[1])))
    .filter(([name]) => !ends.includes(name.split(" ")[0]))
    .map(([name, count]) => `${count} bystanders were closed: ${name}`);
}
