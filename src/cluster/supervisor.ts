// The cluster as a whole: which processes it has, in what order they start and stop, and what the
// operator may do to them, one operation at a time.

import { availableParallelism } from "node:os";
import { formatAddress } from "../runtime/arguments.ts";
import type { Logger } from "../runtime/log.ts";
import { ChildProcess } from "./child-process.ts";
import { isLoopback, type Settings } from "./config.ts";
import type { Layout } from "./data-folder.ts";
import { Refusal } from "./refusal.ts";
import type { ClusterStatus, Role } from "./status.ts";

/** The script of each role. */
export type Programs = Readonly<Record<Role, string>>;

const ANSWER_TIMEOUT_MS = 250;
/**
 * A client that comes back costs the lb, a node and itself, where it runs here too, half a
 * millisecond: that is half of each core.
 */
const ENDINGS_PER_CORE = 1000;
/** One lb takes clients on about as fast as this. */
const ENDINGS_PER_LB_MAX = 3000;
/** How long the nodes of a stopping cluster may take over their farewells. */
const GOODBYE_MS = 4000;
const GRACE_MS: Readonly<Record<Role, number>> = { lb: 5000, node: 6000, relay: 5000 };

export class Supervisor {
  readonly #settings: Settings;
  readonly #layout: Layout;
  readonly #programs: Programs;
  readonly #logger: Logger;
  readonly #onCrashLoop: (sentence: string) => void;
  readonly #relays: ChildProcess[] = [];
  #nodes: ChildProcess[] = [];
  readonly #lbs: ChildProcess[] = [];
  #operation: string | undefined;
  #stopped: Promise<void> | undefined;

  constructor(
    settings: Settings,
    layout: Layout,
    programs: Programs,
    logger: Logger,
    onCrashLoop: (sentence: string) => void,
  ) {
    this.#settings = settings;
    this.#layout = layout;
    this.#programs = programs;
    this.#logger = logger;
    this.#onCrashLoop = onCrashLoop;
    for (let n = 1; n <= settings.relays; n++) this.#relays.push(this.#relay(`relay-${n}`));
    for (let n = 1; n <= settings.nodes; n++) this.#nodes.push(this.#node(`node-${n}`));
    for (let n = 1; n <= settings.lbWorkers; n++) this.#lbs.push(this.#lb(`lb-${n}`));
  }

  /**
   * Starts everything; resolves when all of it is ready. A Refusal says what cannot start; then
   * `stop` is to be called.
   */
  start(): Promise<void> {
    return this.#exclusively("start", async () => {
      await startAll(this.#relays);
      await Promise.all([startAll(this.#nodes), this.#startLbs()]);
    });
  }

  /** Stops everything in order: the lbs, then the nodes, then the relays. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stopInOrder();
    return this.#stopped;
  }

  /** Ends everything at once. */
  kill(): void {
    for (const child of this.#all) child.kill();
  }

  /** How everything is, each process having been asked just now. */
  async status(): Promise<ClusterStatus> {
    await Promise.all(this.#all.map((child) => child.ask(ANSWER_TIMEOUT_MS)));
    return {
      address: this.#lbs[0]?.address ?? null,
      scheme: this.#settings.tlsCert.length > 0 ? "https" : "http",
      processes: this.#all.map((child) => child.status),
    };
  }

  /** Starts nodes, or drains and stops the highest-numbered, until there are `count`. */
  scale(count: number): Promise<string> {
    return this.#exclusively(`scale ${count}`, async () => {
      const before = this.#nodes.length;
      if (count > before) await this.#addNodes(before, count);
      else await this.#removeNodes(count);
      return before === count
        ? `The cluster has ${nodes(count)} already.`
        : `The cluster has ${nodes(count)} now.`;
    });
  }

  drain(id: string): Promise<string> {
    return this.#exclusively(`drain ${id}`, async () => {
      await this.#nodeCalled(id).drain();
      return `${id} takes no new clients; undrain it to take it back.`;
    });
  }

  undrain(id: string): Promise<string> {
    return this.#exclusively(`undrain ${id}`, async () => {
      await this.#nodeCalled(id).undrain();
      return `${id} takes clients again.`;
    });
  }

  /**
   * Restarts one process or, without an id, every node, one after another, so that the others go on
   * serving.
   */
  restart(id?: string): Promise<string> {
    return this.#exclusively(id === undefined ? "restart" : `restart ${id}`, async () => {
      const children = id === undefined ? this.#nodes : [this.#called(id, this.#all, "process")];
      for (const child of children) await restartOne(child);
      return `Restarted ${children.map((child) => child.id).join(", ")}.`;
    });
  }

  get #all(): ChildProcess[] {
    return [...this.#relays, ...this.#nodes, ...this.#lbs];
  }

  async #exclusively<T>(operation: string, run: () => Promise<T>): Promise<T> {
    if (this.#stopped !== undefined) throw new Refusal("The cluster is stopping.");
    if (this.#operation !== undefined)
      throw new Refusal(
        `The cluster is busy with "${this.#operation}": try again when that is done.`,
      );
    this.#operation = operation;
    this.#logger.debug({ operation }, "operation");
    try {
      return await run();
    } finally {
      this.#operation = undefined;
    }
  }

  /** With port 0 the first lb finds out which port it is, and the others share it. */
  async #startLbs(): Promise<void> {
    if (this.#settings.port !== 0) return startAll(this.#lbs);
    await startAll(this.#lbs.slice(0, 1));
    await startAll(this.#lbs.slice(1));
  }

  /** The lbs take no new clients, but stay until the nodes have said goodbye to theirs. */
  async #stopInOrder(): Promise<void> {
    await Promise.all(this.#lbs.map((lb) => lb.empty(0)));
    await Promise.all(this.#nodes.map((node) => node.empty(GOODBYE_MS)));
    await stopAll(this.#lbs);
    await stopAll(this.#nodes);
    await stopAll(this.#relays);
  }

  async #addNodes(from: number, to: number): Promise<void> {
    const added = Array.from({ length: to - from }, (_, index) =>
      this.#node(`node-${from + index + 1}`),
    );
    this.#nodes = [...this.#nodes, ...added];
    try {
      await startAll(added);
    } catch (error) {
      await this.#removeNodes(from);
      throw error;
    }
  }

  async #removeNodes(from: number): Promise<void> {
    await stopAll(this.#nodes.slice(from));
    this.#nodes = this.#nodes.slice(0, from);
  }

  #nodeCalled(id: string): ChildProcess {
    return this.#called(id, this.#nodes, "node");
  }

  #called(id: string, among: readonly ChildProcess[], what: string): ChildProcess {
    const child = among.find((candidate) => candidate.id === id);
    if (child !== undefined) return child;
    throw new Refusal(
      `There is no ${what} "${id}": it must be one of ${among.map((known) => known.id).join(", ")}.`,
    );
  }

  #relay(id: string): ChildProcess {
    const { memoryMb, relays, fsync } = this.#settings;
    return this.#child("relay", id, (self) => [
      ...["--listen", self.address ?? "127.0.0.1:0"],
      ...["--data", this.#layout.relayFolder(id)],
      ...["--memory-mb", String(memoryMb), "--relays", String(relays)],
      ...(fsync ? ["--fsync"] : []),
    ]);
  }

  #node(id: string): ChildProcess {
    const { app, host, open } = this.#settings;
    return this.#child("node", id, () => [
      ...["--listen", formatAddress({ unix: this.#layout.nodeSocket(id) })],
      ...this.#relayFlags(),
      ...(app === undefined ? [] : ["--app", app]),
      ...(isLoopback(host) || open ? [] : ["--require-connect"]),
    ]);
  }

  #lb(id: string): ChildProcess {
    const { host, port, lbWorkers } = this.#settings;
    return this.#child("lb", id, () => [
      ...this.#doorFlags(),
      ...["--listen", this.#lbs[0]?.address ?? formatAddress({ host, port })],
      ...this.#relayFlags(),
      ...(lbWorkers > 1 ? ["--reuse-port"] : []),
    ]);
  }

  /**
   * Of two equal flags the last counts: the operator's own over ours, and over those the settings
   * that the cluster has a name for.
   */
  #doorFlags(): string[] {
    const { lbFlags, trust, proxyProtocol, tlsCert, tlsKey, accessLog } = this.#settings;
    const repeated = { "--trust": trust, "--tls-cert": tlsCert, "--tls-key": tlsKey };
    return [
      `--endings-per-second=${this.#endingsPerSecond()}`,
      ...lbFlags,
      ...Object.entries(repeated).flatMap(([flag, values]) =>
        values.map((value) => `${flag}=${value}`),
      ),
      ...(proxyProtocol ? ["--proxy-protocol"] : []),
      ...(accessLog === undefined ? [] : [`--access-log=${accessLog}`]),
    ];
  }

  /** How many clients of a dead node each lb tells a second, and so how fast they come back. */
  #endingsPerSecond(): number {
    const share = Math.round(
      (ENDINGS_PER_CORE * availableParallelism()) / this.#settings.lbWorkers,
    );
    return Math.min(share, ENDINGS_PER_LB_MAX);
  }

  #relayFlags(): string[] {
    return this.#relays.flatMap(({ id, address }) => ["--relay", `${id}=${address}`]);
  }

  #child(role: Role, id: string, flags: (self: ChildProcess) => string[]): ChildProcess {
    const common = [
      "--secret-file",
      this.#layout.secretFile,
      "--log-level",
      this.#settings.logLevel,
    ];
    const child: ChildProcess = new ChildProcess(
      {
        role,
        id,
        logFile: this.#layout.logFile(id),
        socketFile: role === "node" ? this.#layout.nodeSocket(id) : undefined,
        graceMs: GRACE_MS[role],
        command: () => [this.#programs[role], "--id", id, ...flags(child), ...common],
      },
      this.#logger,
      this.#onCrashLoop,
    );
    return child;
  }
}

async function restartOne(child: ChildProcess): Promise<void> {
  try {
    await child.restart();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    throw new Refusal(
      `${child.id} did not come back, and nothing else was restarted after it: ${error.message}`,
    );
  }
}

async function startAll(children: readonly ChildProcess[]): Promise<void> {
  await Promise.all(children.map((child) => child.start()));
}

async function stopAll(children: readonly ChildProcess[]): Promise<void> {
  await Promise.all(children.map((child) => child.stop()));
}

const nodes = (count: number): string => (count === 1 ? "1 node" : `${count} nodes`);
