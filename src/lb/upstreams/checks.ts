// One health check: connects to a node and, if a path is configured, requests it.

import { HeadReader, RESPONSE, type StatusLine } from "../http/head.ts";
import { dial } from "../net/dial.ts";
import type { OwnedSocket, SocketCallbacks, SocketOwner } from "../net/socket-owner.ts";
import type { CheckOutcome } from "./health.ts";
import type { PoolNode } from "./pool.ts";

export type CheckOptions = {
  /** Undefined: a successful connection is sufficient. */
  readonly checkPath: string | undefined;
  readonly checkTimeoutMs: number;
};

const HEAD_LIMITS = { headBytesMax: 16_384, targetBytesMax: 1024, headFieldsMax: 100 };

export class HealthCheck implements SocketOwner {
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
        `GET ${this.#options.checkPath} HTTP/1.1\r\nHost: ${host}\r\n` +
          "User-Agent: tutti-check\r\nConnection: close\r\n\r\n",
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
