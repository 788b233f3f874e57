// Active health checks: every node is asked once an interval, and at once when a dial to it was
// refused. Whether an outcome changes the node's health is health.ts's business.

import { HeadReader, RESPONSE, type StatusLine } from "../http/head.ts";
import { dial } from "../net/dial.ts";
import type { OwnedSocket, SocketCallbacks, SocketOwner } from "../net/socket-owner.ts";
import { type CheckOutcome, type HealthOptions, HealthRecord } from "./health.ts";
import type { Health, PoolNode } from "./pool.ts";

export type CheckOptions = HealthOptions & {
  /** Undefined: a connection is proof enough. */
  readonly checkPath: string | undefined;
  readonly checkIntervalMs: number;
  readonly checkTimeoutMs: number;
};

export type ChecksListener = {
  healthChanged(node: PoolNode, before: Health, why: string): void;
  /** A node has answered, which proves connections accepted. */
  nodeAnswered(): void;
};

const HEAD_LIMITS = { headBytesMax: 16_384, targetBytesMax: 1024, headFieldsMax: 100 };

type Watch = {
  readonly record: HealthRecord;
  timer: ReturnType<typeof setTimeout> | undefined;
  check: Check | undefined;
};

export class HealthChecks {
  readonly #options: CheckOptions;
  readonly #callbacks: SocketCallbacks;
  readonly #listener: ChecksListener;
  readonly #watches = new Map<PoolNode, Watch>();

  constructor(options: CheckOptions, callbacks: SocketCallbacks, listener: ChecksListener) {
    this.#options = options;
    this.#callbacks = callbacks;
    this.#listener = listener;
  }

  /**
   * Whether a check that goes well proves that the node has accepted it, and every connection
   * before it.
   */
  get proveAcceptance(): boolean {
    return this.#options.checkPath !== undefined;
  }

  /** Checks the node from now on; it counts as up until a check says otherwise. */
  watch(node: PoolNode): void {
    this.forget(node);
    node.health = "up";
    node.backlog.emptied();
    this.#watches.set(node, {
      record: new HealthRecord(this.#options),
      timer: undefined,
      check: undefined,
    });
    this.checkNow(node);
  }

  forget(node: PoolNode): void {
    const watch = this.#watches.get(node);
    if (watch === undefined) return;
    clearTimeout(watch.timer);
    watch.check?.giveUp();
    this.#watches.delete(node);
  }

  /** A dial was refused in a way that only a dead server refuses. */
  refused(node: PoolNode): void {
    const watch = this.#watches.get(node);
    if (watch === undefined) return;
    node.backlog.emptied();
    this.#set(node, watch.record.refused(), "refused a connection");
  }

  checkNow(node: PoolNode): void {
    const watch = this.#watches.get(node);
    if (watch === undefined || watch.check !== undefined) return;
    clearTimeout(watch.timer);
    watch.check = new Check(node, this.#options, (outcome, why) => {
      watch.check = undefined;
      if (this.#watches.get(node) !== watch) return;
      if (outcome === "well") node.counts.checksGood++;
      else node.counts.checksFailed++;
      watch.timer = setTimeout(
        () => this.checkNow(node),
        this.#options.checkIntervalMs * (0.9 + 0.2 * Math.random()),
      );
      this.#set(node, watch.record.checked(outcome), why);
      this.#listener.nodeAnswered();
    });
    watch.check.start(this.#callbacks);
  }

  stop(): void {
    for (const node of this.#watches.keys()) this.forget(node);
  }

  #set(node: PoolNode, health: Health, why: string): void {
    const before = node.health;
    node.health = health;
    if (before === health) return;
    node.counts.changedAtMs = Date.now();
    this.#listener.healthChanged(node, before, why);
  }
}

/** One check, in flight. */
class Check implements SocketOwner {
  readonly #node: PoolNode;
  readonly #options: CheckOptions;
  readonly #reader = new HeadReader<StatusLine>(RESPONSE, HEAD_LIMITS);
  readonly #timer: ReturnType<typeof setTimeout>;
  #done: ((outcome: CheckOutcome, why: string) => void) | undefined;
  #socket: OwnedSocket | undefined;
  #place: number | undefined;

  constructor(
    node: PoolNode,
    options: CheckOptions,
    done: (outcome: CheckOutcome, why: string) => void,
  ) {
    this.#node = node;
    this.#options = options;
    this.#done = done;
    this.#timer = setTimeout(
      () => this.#finish("unreachable", "no answer in time"),
      options.checkTimeoutMs,
    );
  }

  start(callbacks: SocketCallbacks): void {
    this.#node.backlog.dial();
    dial(this.#node.address, this, callbacks);
  }

  giveUp(): void {
    this.#done = undefined;
    clearTimeout(this.#timer);
    this.#socket?.terminate();
  }

  socketOpened(socket: OwnedSocket): void {
    this.#socket = socket;
    this.#place = this.#node.backlog.dialOpened();
    if (this.#done === undefined) socket.terminate();
    else if (this.#options.checkPath === undefined) this.#finish("well", "accepts connections");
    else {
      const { address } = this.#node;
      const host =
        "unix" in address
          ? "localhost"
          : address.host.includes(":")
            ? `[${address.host}]`
            : address.host;
      socket.write(
        `GET ${this.#options.checkPath} HTTP/1.1\r\nHost: ${host}\r\nUser-Agent: tutti-check\r\nConnection: close\r\n\r\n`,
      );
    }
  }

  bytesReceived(chunk: Buffer): void {
    if (this.#place !== undefined) this.#node.backlog.answered(this.#place);
    if (this.#done === undefined) return;
    this.#reader.read(chunk, 0);
    const { start, fault } = this.#reader;
    if (fault !== undefined) this.#finish("unwell", fault.message);
    else if (start?.status === 200) this.#finish("well", "answers 200");
    else if (start !== undefined) this.#finish("unwell", `answers ${start.status}`);
  }

  endReceived(): void {
    this.#finish("unreachable", "closes without an answer");
  }

  socketClosed(): void {
    this.#finish("unreachable", "closes without an answer");
  }

  dialFailed(code: string): void {
    if (this.#socket !== undefined || this.#place !== undefined) return;
    this.#place = 0;
    this.#node.backlog.dialFailed();
    if (code === "ECONNREFUSED" || code === "ENOENT") this.#node.backlog.emptied();
    this.#finish("unreachable", code);
  }

  socketDrained(): void {}

  #finish(outcome: CheckOutcome, why: string): void {
    clearTimeout(this.#timer);
    const done = this.#done;
    this.#done = undefined;
    if (outcome === "well" && this.#options.checkPath === undefined) this.#socket?.end();
    else this.#socket?.terminate();
    done?.(outcome, why);
  }
}
