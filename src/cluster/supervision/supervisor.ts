// The processes of the cluster: the order in which they start and stop, and the operator's
// operations on them, one at a time.

import { existsSync, mkdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import type { Logger } from "../../runtime/log";
import { RELAY_PROTOCOL_VERSION } from "../../wire/relay-messages";
import type { Layout } from "../files/data-folder";
import { removeOldLogs } from "../files/log-file";
import type { LogRecord } from "../files/output";
import { Refusal } from "../files/refusal";
import type { ClusterStatus, Role } from "../report/status";
import type { Settings } from "../settings/config";
import { ChildProcess } from "./child-process";
import { LB_DRAIN_MS, lbFlags, nodeFlags, relayFlags } from "./program-flags";

/** The script of each role. */
export type Programs = Readonly<Record<Role, string>>;

const STATUS_TIMEOUT_MS = 250;
/** How long the nodes of a stopping cluster may take to drain. */
const DRAIN_ON_STOP_MS = 4000;
const GRACE_MS: Readonly<Record<Role, number>> = { lb: 5000, node: 6000, relay: 5000 };
/** How long a start may take without a sign of progress. */
const READY_MS = 30_000;
/** How long a node that is replaced may take to send its clients away. */
const NODE_RETIRES_MS = 60_000;
/** How long a replaced lb may take to close, at its pace, the WebSockets that are left. */
const LB_RETIRES_MS = 60_000;
/** How long the lbs may take to find out that a new node is up. */
const KNOWN_WITHIN_MS = 5000;
const KNOWN_POLL_MS = 50;

export class Supervisor {
  readonly #settings: Settings;
  readonly #layout: Layout;
  readonly #programs: Programs;
  readonly #logger: Logger;
  readonly #recordWritten: (record: LogRecord) => void;
  readonly #relays: ChildProcess[] = [];
  #nodes: ChildProcess[] = [];
  #lbs: ChildProcess[] = [];
  /** Lbs that were replaced and still have connections. */
  readonly #retiring = new Set<ChildProcess>();
  /** Where clients connect, once the first lb was ready. */
  #address: string | undefined;
  #operation: string | undefined;
  #stopped: Promise<void> | undefined;

  /** `recordWritten` is called with each line of the processes' logs. */
  constructor(
    settings: Settings,
    layout: Layout,
    programs: Programs,
    logger: Logger,
    recordWritten: (record: LogRecord) => void,
  ) {
    this.#settings = settings;
    this.#layout = layout;
    this.#programs = programs;
    this.#logger = logger;
    this.#recordWritten = recordWritten;
    for (let n = 1; n <= settings.relays; n++) this.#relays.push(this.#createRelay(`relay-${n}`));
    for (let n = 1; n <= settings.nodes; n++) this.#nodes.push(this.#createNode(`node-${n}`));
    for (let n = 1; n <= settings.lbWorkers; n++) this.#lbs.push(this.#createLb(`lb-${n}`));
  }

  /** Starts all processes; resolves when they are ready. After a Refusal, call `stop`. */
  start(): Promise<void> {
    return this.#runOperation("start", async () => {
      this.#removeOldLogs();
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
    await Promise.all(this.#all.map((child) => child.requestStatus(STATUS_TIMEOUT_MS)));
    return {
      address: this.#address ?? null,
      scheme: this.#settings.tlsCert.length > 0 ? "https" : "http",
      relayProtocol: RELAY_PROTOCOL_VERSION,
      processes: this.#all.map((child) => child.status),
    };
  }

  /** Starts nodes, or drains and stops the highest-numbered, until there are `count`. */
  scale(count: number): Promise<string> {
    return this.#runOperation(`scale ${count}`, async () => {
      const before = this.#nodes.length;
      if (before === count) return `The cluster already has ${nodes(count)}.`;
      if (count < before) {
        await this.#removeNodes(this.#nodes.slice(count));
        return `The cluster now has ${nodes(count)}.`;
      }
      await this.#addNodes(count - before);
      return (
        `The cluster now has ${nodes(count)}. Clients stay where they are; ` +
        'new ones go to the new nodes first, and "restart" moves all.'
      );
    });
  }

  /** Refused for the last node that takes clients. */
  drain(id: string): Promise<string> {
    return this.#runOperation(`drain ${id}`, async () => {
      const node = this.#findNode(id);
      const isOther = (other: ChildProcess) => other !== node && other.status.state === "up";
      if (!this.#nodes.some(isOther))
        throw new Refusal(
          `${id} is the only node that accepts clients: ` +
            `start another first with "scale ${this.#nodes.length + 1}".`,
        );
      await node.drain();
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
   * Restarts one process or, without an id, the nodes one after another. A node or an lb gets a
   * successor with a new id that is up before it goes; a relay is stopped and started.
   */
  restart(id?: string): Promise<string> {
    return this.#runOperation(id === undefined ? "restart" : `restart ${id}`, async () => {
      const one = id === undefined ? undefined : this.#find(id, this.#all, "process");
      if (one?.role === "relay") {
        await one.restart();
        return `Restarted ${id}.`;
      }
      return one?.role === "lb" ? this.#replaceLb(one) : this.#replaceNodes(one);
    });
  }

  /**
   * To be called about twice a second: makes good what was deleted from under the processes. The
   * folders that they share are there again.
   */
  async repair(): Promise<void> {
    for (const child of this.#all) child.checkLog();
    if (this.#operation !== undefined || this.#stopped !== undefined) return;
    for (const relay of this.#relays) this.#repairJournal(relay);
    const lost = this.#nodes.filter((node) => node.hasLostSocket);
    if (lost.length === 0) return;
    const ids = lost.map(({ id }) => id).join(", ");
    this.#logger.error(`the sockets of ${ids} were deleted: they are replaced`);
    await this.#runOperation("replace nodes whose socket was deleted", async () => {
      for (const node of lost) await this.#replaceNode(node);
    });
  }

  get #all(): ChildProcess[] {
    return [...this.#relays, ...this.#nodes, ...this.#lbs, ...this.#retiring];
  }

  async #runOperation<T>(operation: string, run: () => Promise<T>): Promise<T> {
    this.#refuseIfStopping();
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

  #refuseIfStopping(): void {
    if (this.#stopped !== undefined) throw new Refusal("The cluster is stopping.");
  }

  /** With port 0 the first lb finds a free port, which the others share. */
  async #startLbs(): Promise<void> {
    const [first, ...others] = this.#lbs;
    this.#address = await first.start();
    await startAll(others);
  }

  /** The lbs accept no new clients but run until the nodes are drained. */
  async #stopInOrder(): Promise<void> {
    await Promise.all(this.#lbs.map((lb) => lb.drainAndWait(0)));
    await Promise.all(this.#nodes.map((node) => node.drainAndWait(DRAIN_ON_STOP_MS)));
    await stopAll([...this.#lbs, ...this.#retiring]);
    await stopAll(this.#nodes);
    await stopAll(this.#relays);
  }

  async #addNodes(count: number): Promise<void> {
    const from = nextNumber(this.#nodes);
    const added = Array.from({ length: count }, (_, index) =>
      this.#createNode(`node-${from + index}`),
    );
    this.#nodes = [...this.#nodes, ...added];
    try {
      await startAll(added);
    } catch (error) {
      await this.#removeNodes(added);
      throw error;
    }
  }

  /** Drains and stops them. */
  async #removeNodes(removed: readonly ChildProcess[]): Promise<void> {
    await Promise.all(
      removed.map(async (node) => {
        await node.drainAndWait(NODE_RETIRES_MS);
        await node.stop();
      }),
    );
    this.#nodes = this.#nodes.filter((node) => !removed.includes(node));
    this.#removeOldLogs();
  }

  /** Replaces one node, or all; each that is not replaced goes on as it was. */
  async #replaceNodes(one: ChildProcess | undefined): Promise<string> {
    const old = one === undefined ? this.#nodes : [one];
    const successors: ChildProcess[] = [];
    for (const [index, node] of old.entries()) {
      try {
        successors.push(await this.#replaceNode(node));
      } catch (error) {
        this.#refuseIfStopping();
        if (!(error instanceof Refusal)) throw error;
        const left = old.slice(index);
        throw new Refusal(
          `No successor of ${node.id} could be started; ` +
            `${idsOf(left)} ${left.length === 1 ? "goes" : "go"} on as before: ${error.message}`,
        );
      }
    }
    return `Restarted ${idsOf(old)} as ${idsOf(successors)}.`;
  }

  /** The successor is up, and the lbs know it, before the node is drained and stopped. */
  async #replaceNode(node: ChildProcess): Promise<ChildProcess> {
    this.#refuseIfStopping();
    const successor = this.#createNode(`node-${nextNumber(this.#nodes)}`);
    if (node.isDrained) await successor.drain();
    this.#nodes = [...this.#nodes, successor];
    try {
      await successor.start();
    } catch (error) {
      await this.#removeNodes([successor]);
      throw error;
    }
    if (!successor.isDrained) await this.#untilKnown(successor);
    await this.#removeNodes([node]);
    this.#refuseIfStopping();
    return successor;
  }

  async #untilKnown(node: ChildProcess): Promise<void> {
    const deadline = performance.now() + KNOWN_WITHIN_MS;
    while (performance.now() < deadline) {
      await Promise.all(this.#lbs.map((lb) => lb.requestStatus(STATUS_TIMEOUT_MS)));
      if (this.#lbs.every((lb) => lb.knows(node.id))) return;
      await Bun.sleep(KNOWN_POLL_MS);
    }
    this.#logger.warn({ node: node.id }, "not every lb sends clients to the new node yet");
  }

  /**
   * The successor listens on the same port before the lb stops to; the lb keeps the connections
   * that it has.
   */
  async #replaceLb(lb: ChildProcess): Promise<string> {
    if (this.#retiring.has(lb)) throw new Refusal(`${lb.id} was replaced already.`);
    const successor = this.#createLb(`lb-${nextNumber([...this.#lbs, ...this.#retiring])}`);
    this.#lbs = [...this.#lbs, successor];
    try {
      await successor.start();
    } catch (error) {
      await successor.stop();
      this.#lbs = this.#lbs.filter((each) => each !== successor);
      if (!(error instanceof Refusal)) throw error;
      throw new Refusal(
        `No successor of ${lb.id} could be started; ${lb.id} goes on as before: ${error.message}`,
      );
    }
    this.#lbs = this.#lbs.filter((each) => each !== lb);
    this.#retiring.add(lb);
    void lb.retire(LB_DRAIN_MS + LB_RETIRES_MS).finally(() => {
      this.#retiring.delete(lb);
      this.#removeOldLogs();
    });
    return (
      `Restarted ${lb.id} as ${successor.id}; ${lb.id} keeps its connections until they end, ` +
      `for ${LB_DRAIN_MS / 60_000} minutes at most.`
    );
  }

  #repairJournal(relay: ChildProcess): void {
    const folder = this.#layout.relayFolder(relay.id);
    if (relay.status.state !== "up" || existsSync(folder)) return;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    this.#logger.error(
      `the journal of ${relay.id}, ${folder}, was deleted: what it holds is lost when it stops`,
    );
  }

  #removeOldLogs(): void {
    const inUse = new Set(this.#all.map(({ id }) => id));
    removeOldLogs(this.#layout.logFolder, inUse, Date.now());
  }

  #findNode(id: string): ChildProcess {
    return this.#find(id, this.#nodes, "node");
  }

  #find(id: string, among: readonly ChildProcess[], what: string): ChildProcess {
    const child = among.find((candidate) => candidate.id === id);
    if (child !== undefined) return child;
    const known = among.map((each) => each.id).join(", ");
    throw new Refusal(`There is no ${what} "${id}": it must be one of ${known}.`);
  }

  #createRelay(id: string): ChildProcess {
    return this.#createProcess("relay", id, (self) =>
      relayFlags(this.#settings, this.#layout, self),
    );
  }

  #createNode(id: string): ChildProcess {
    return this.#createProcess("node", id, () =>
      nodeFlags(this.#settings, this.#layout, id, this.#relays),
    );
  }

  #createLb(id: string): ChildProcess {
    return this.#createProcess("lb", id, () =>
      lbFlags(this.#settings, this.#relays, this.#address, availableParallelism()),
    );
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
        readyMs: READY_MS,
        graceMs: GRACE_MS[role],
        command: () => [this.#programs[role], "--id", id, ...flags(child), ...common],
      },
      this.#logger,
      this.#recordWritten,
    );
    return child;
  }
}

async function startAll(children: readonly ChildProcess[]): Promise<void> {
  await Promise.all(children.map((child) => child.start()));
}

async function stopAll(children: readonly ChildProcess[]): Promise<void> {
  await Promise.all(children.map((child) => child.stop()));
}

const nodes = (count: number): string => (count === 1 ? "1 node" : `${count} nodes`);

const idsOf = (children: readonly ChildProcess[]): string =>
  children.map(({ id }) => id).join(", ");

/** One more than the highest number among the ids: ids are not given twice while in use. */
const nextNumber = (children: readonly ChildProcess[]): number =>
  1 + Math.max(0, ...children.map(({ id }) => Number(/\d+$/.exec(id)?.[0] ?? 0)));
