// The processes of the cluster: the order in which they start and stop, and the operator's
// operations on them, one at a time.

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
/** A reconnect costs lb, node and client half a millisecond together: half of each core. */
const DISCONNECTS_PER_CORE = 1000;
/** About the rate at which one lb accepts clients. */
const DISCONNECTS_PER_LB_MAX = 3000;
/** How long the nodes of a stopping cluster may take to drain. */
const DRAIN_ON_STOP_MS = 4000;
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
    for (let n = 1; n <= settings.relays; n++) this.#relays.push(this.#createRelay(`relay-${n}`));
    for (let n = 1; n <= settings.nodes; n++) this.#nodes.push(this.#createNode(`node-${n}`));
    for (let n = 1; n <= settings.lbWorkers; n++) this.#lbs.push(this.#createLb(`lb-${n}`));
  }

  /** Starts all processes; resolves when they are ready. After a Refusal, call `stop`. */
  start(): Promise<void> {
    return this.#runOperation("start", async () => {
      await startAll(this.#relays);
      await Promise.all([startAll(this.#nodes), this.#startLbs()]);
    });
  }

  /** Stops all processes in order: lbs, nodes, relays. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stopInOrder();
    return this.#stopped;
  }

  /** Kills all processes. */
  kill(): void {
    for (const child of this.#all) child.kill();
  }

  /** The status of all processes, refreshed now. */
  async status(): Promise<ClusterStatus> {
    await Promise.all(this.#all.map((child) => child.requestStatus(ANSWER_TIMEOUT_MS)));
    return {
      address: this.#lbs[0]?.address ?? null,
      scheme: this.#settings.tlsCert.length > 0 ? "https" : "http",
      processes: this.#all.map((child) => child.status),
    };
  }

  /** Starts nodes, or drains and stops the highest-numbered, until there are `count`. */
  scale(count: number): Promise<string> {
    return this.#runOperation(`scale ${count}`, async () => {
      const before = this.#nodes.length;
      if (count > before) await this.#addNodes(before, count);
      else await this.#removeNodes(count);
      return before === count
        ? `The cluster already has ${nodes(count)}.`
        : `The cluster now has ${nodes(count)}.`;
    });
  }

  drain(id: string): Promise<string> {
    return this.#runOperation(`drain ${id}`, async () => {
      await this.#findNode(id).drain();
      return `${id} accepts no new clients until it is undrained.`;
    });
  }

  undrain(id: string): Promise<string> {
    return this.#runOperation(`undrain ${id}`, async () => {
      await this.#findNode(id).undrain();
      return `${id} accepts clients again.`;
    });
  }

  /**
   * Restarts one process or, without an id, the nodes one after another, while the others serve.
   */
  restart(id?: string): Promise<string> {
    return this.#runOperation(id === undefined ? "restart" : `restart ${id}`, async () => {
      const children = id === undefined ? this.#nodes : [this.#find(id, this.#all, "process")];
      for (const child of children) await restartProcess(child);
      return `Restarted ${children.map((child) => child.id).join(", ")}.`;
    });
  }

  get #all(): ChildProcess[] {
    return [...this.#relays, ...this.#nodes, ...this.#lbs];
  }

  async #runOperation<T>(operation: string, run: () => Promise<T>): Promise<T> {
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

  /** With port 0 the first lb finds a free port, which the others share. */
  async #startLbs(): Promise<void> {
    if (this.#settings.port !== 0) return startAll(this.#lbs);
    await startAll(this.#lbs.slice(0, 1));
    await startAll(this.#lbs.slice(1));
  }

  /** The lbs accept no new clients but run until the nodes are drained. */
  async #stopInOrder(): Promise<void> {
    await Promise.all(this.#lbs.map((lb) => lb.drainAndWait(0)));
    await Promise.all(this.#nodes.map((node) => node.drainAndWait(DRAIN_ON_STOP_MS)));
    await stopAll(this.#lbs);
    await stopAll(this.#nodes);
    await stopAll(this.#relays);
  }

  async #addNodes(from: number, to: number): Promise<void> {
    const added = Array.from({ length: to - from }, (_, index) =>
      this.#createNode(`node-${from + index + 1}`),
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

  #findNode(id: string): ChildProcess {
    return this.#find(id, this.#nodes, "node");
  }

  #find(id: string, among: readonly ChildProcess[], what: string): ChildProcess {
    const child = among.find((candidate) => candidate.id === id);
    if (child !== undefined) return child;
    throw new Refusal(
      `There is no ${what} "${id}": it must be one of ${among.map((known) => known.id).join(", ")}.`,
    );
  }

  #createRelay(id: string): ChildProcess {
    const { memoryMb, relays, fsync } = this.#settings;
    return this.#createProcess("relay", id, (self) => [
      ...["--listen", self.address ?? "127.0.0.1:0"],
      ...["--data", this.#layout.relayFolder(id)],
      ...["--memory-mb", String(memoryMb), "--relays", String(relays)],
      ...(fsync ? ["--fsync"] : []),
    ]);
  }

  #createNode(id: string): ChildProcess {
    const { app, host, open, publicHost } = this.#settings;
    return this.#createProcess("node", id, () => [
      ...["--listen", formatAddress({ unix: this.#layout.nodeSocket(id) })],
      ...this.#relayFlags(),
      ...(app === undefined ? [] : ["--app", app]),
      ...(isLoopback(host) || open ? [] : ["--require-connect"]),
      ...publicHost.flatMap((name) => ["--public-host", name]),
    ]);
  }

  #createLb(id: string): ChildProcess {
    const { host, port, lbWorkers } = this.#settings;
    return this.#createProcess("lb", id, () => [
      ...this.#lbFlags(),
      ...["--listen", this.#lbs[0]?.address ?? formatAddress({ host, port })],
      ...this.#relayFlags(),
      ...(lbWorkers > 1 ? ["--reuse-port"] : []),
    ]);
  }

  /**
   * Of equal flags the last counts: the operator's lb flags win over ours, the cluster's own
   * settings over both.
   */
  #lbFlags(): string[] {
    const { lbFlags, trust, proxyProtocol, tlsCert, tlsKey, accessLog } = this.#settings;
    const repeated = { "--trust": trust, "--tls-cert": tlsCert, "--tls-key": tlsKey };
    return [
      `--endings-per-second=${this.#disconnectsPerSecond()}`,
      ...lbFlags,
      ...Object.entries(repeated).flatMap(([flag, values]) =>
        values.map((value) => `${flag}=${value}`),
      ),
      ...(proxyProtocol ? ["--proxy-protocol"] : []),
      ...(accessLog === undefined ? [] : [`--access-log=${accessLog}`]),
    ];
  }

  /** How many clients of a dead node each lb disconnects a second: the rate of reconnects. */
  #disconnectsPerSecond(): number {
    const share = Math.round(
      (DISCONNECTS_PER_CORE * availableParallelism()) / this.#settings.lbWorkers,
    );
    return Math.min(share, DISCONNECTS_PER_LB_MAX);
  }

  #relayFlags(): string[] {
    return this.#relays.flatMap(({ id, address }) => ["--relay", `${id}=${address}`]);
  }

  #createProcess(role: Role, id: string, flags: (self: ChildProcess) => string[]): ChildProcess {
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

async function restartProcess(child: ChildProcess): Promise<void> {
  try {
    await child.restart();
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    throw new Refusal(
      `${child.id} did not restart, and the nodes after it were not restarted: ${error.message}`,
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
