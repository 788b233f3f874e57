// The running lb: its listener, the sweep that watches every deadline, its counts, and its end. One
// object a process.

import type { SocketHandler, TCPSocketListener } from "bun";
import { formatAddress } from "../runtime/arguments.ts";
import { COUNTED_NODES_MAX, type LbCounters } from "../runtime/child-ipc.ts";
import { fileDescriptorLimit } from "../runtime/file-descriptor-limit.ts";
import type { Logger } from "../runtime/log.ts";
import { Acceptor, REFUSALS_MAX } from "./accept/acceptor.ts";
import { Admission } from "./accept/admission.ts";
import type { Certificates } from "./accept/certificate-files.ts";
import { secureWith } from "./accept/tls.ts";
import { viaName } from "./http/keyed.ts";
import { PacedQueue } from "./net/pace.ts";
import { type SocketOwner, socketCallbacks } from "./net/socket-owner.ts";
import type { Options } from "./options.ts";
import type { Live, Shared } from "./proxying/shared.ts";
import type { AccessLog } from "./telemetry/access-log.ts";
import { Checks } from "./upstreams/checks.ts";
import { Dispatcher, type Lease } from "./upstreams/dispatch.ts";
import { type Health, Pool, type PoolNode } from "./upstreams/pool.ts";

/** How often deadlines are looked at, and so how late they may be. */
const SWEEP_MS = 250;
/**
 * How long a stopping lb waits for what is under way: first for its natural end, then for the end
 * it is given.
 */
const STOP_KINDLY_MS = 400;
const STOP_FIRMLY_MS = 300;
/** File descriptors that are no client's: links, checks, logs, the listener, refusals. */
const RESERVED_FDS = 96 + REFUSALS_MAX;

export class LoadBalancer {
  readonly pool: Pool;
  readonly checks: Checks;
  readonly dispatcher: Dispatcher;
  readonly #options: Options;
  readonly #log: Logger;
  readonly #admission: Admission;
  readonly #live = new Set<Live>();
  readonly #clock = { nowMs: performance.now() };
  readonly #dials: Shared["dials"];
  readonly #shared: Shared;
  readonly #sweep: ReturnType<typeof setInterval>;
  readonly #entrance: Acceptor;
  #listener: TCPSocketListener<SocketOwner> | undefined;
  #ownHost: string;
  #port: number;

  /** `accessLog`: undefined: there is none. `certificates`: for TLS; undefined: there is none. */
  constructor(
    options: Options,
    key: string,
    log: Logger,
    accessLog?: AccessLog,
    certificates?: Certificates,
  ) {
    this.#options = options;
    this.#log = log;
    this.#port = options.listen.port;
    this.#ownHost = formatAddress(options.listen);
    const { numbers } = options;
    const connectionsMax =
      numbers.connectionsMax || Math.max(1, Math.floor((fileDescriptorLimit() - RESERVED_FDS) / 2));
    this.#admission = new Admission({ ...numbers, connectionsMax }, performance.now());
    this.pool = new Pool(numbers);
    this.dispatcher = new Dispatcher(
      this.pool,
      numbers.queueMax,
      () => performance.now(),
      setImmediate,
    );
    const callbacks = socketCallbacks(log, (socket) => socket.data.opened(socket));
    const nodeAnswered = () => this.dispatcher.serve();
    this.checks = new Checks({ ...numbers, checkPath: options.checkPath }, callbacks, {
      healthChanged: (node, before, why) => this.#healthChanged(node, before, why),
      nodeAnswered,
    });
    this.#dials = {
      callbacks,
      upstreams: 0,
      dialFailed: (lease, code) => this.#dialFailed(lease, code),
      nodeAnswered,
    };
    const lb = this;
    this.#shared = {
      options,
      clock: this.#clock,
      pool: this.pool,
      dispatcher: this.dispatcher,
      dials: this.#dials,
      endings: new PacedQueue(
        numbers.endingsPerSecond,
        () => performance.now(),
        (work) => setTimeout(work, 1),
      ),
      live: this.#live,
      accessLog,
      via: viaName(key),
      get ownHost() {
        return lb.#ownHost;
      },
    };
    const secure = certificates === undefined ? undefined : secureWith(certificates, log);
    this.#entrance = new Acceptor(this.#shared, this.#admission, secure);
    this.#sweep = setInterval(() => this.#expire(), SWEEP_MS);
  }

  get connections(): number {
    return this.#admission.connections;
  }

  /**
   * Starts to take connections; returns the real address. Throws what Bun.listen throws, such as
   * EADDRINUSE.
   */
  listen(): string {
    const { host } = this.#options.listen;
    // In a variable, because Bun's types do not know reusePort here; Bun does.
    const where = {
      hostname: host,
      port: this.#port,
      allowHalfOpen: true,
      reusePort: this.#options.reusePort,
      socket: this.#callbacks(),
    };
    this.#listener = Bun.listen<SocketOwner>(where);
    this.#port = this.#listener.port;
    this.#ownHost = formatAddress({ host, port: this.#port });
    return this.#ownHost;
  }

  /**
   * Those of what the listener accepts. Without `data`, nobody is handed a copy of all that TLS
   * reads underneath.
   */
  #callbacks(): SocketHandler<SocketOwner> {
    const { data, ...others } = socketCallbacks(this.#log, (socket) =>
      this.#entrance.accept(socket, performance.now()),
    );
    const readsPlain = this.#entrance.secure === undefined || this.#options.proxyProtocol;
    return readsPlain ? { data, ...others } : others;
  }

  /** Takes no new connections; those that are there live on. */
  close(): void {
    this.#listener?.stop();
    this.#listener = undefined;
  }

  /** Ends everything that is under way as kindly as a short time allows. */
  async stop(): Promise<void> {
    this.close();
    this.checks.stop();
    for (const waitMs of [STOP_KINDLY_MS, STOP_FIRMLY_MS]) {
      for (const live of this.#live) live.stop();
      const deadlineMs = performance.now() + waitMs;
      while (this.#live.size > 0 && performance.now() < deadlineMs) await Bun.sleep(10);
    }
    for (const live of this.#live) live.cut?.();
    // The sockets that were cut say so in the next turns.
    await Bun.sleep(10);
    clearInterval(this.#sweep);
  }

  /** Every count there is, for whoever looks from outside. */
  counts(): Record<string, unknown> {
    const nodes: Record<string, unknown> = {};
    for (const node of this.pool.nodes) {
      const { health, standing, connections, elsewhere, backlog } = node;
      nodes[node.id] = {
        health,
        standing,
        connections,
        elsewhere,
        unaccepted: backlog.unaccepted,
        backlogMax: backlog.max,
        counts: node.counts.named,
      };
    }
    return { live: this.#live.size, ...this.#total, nodes };
  }

  /** What has been counted since the start, for the supervisor. */
  counters(): LbCounters {
    const nodes = [...this.pool.nodes].slice(0, COUNTED_NODES_MAX);
    return {
      total: this.#total,
      nodes: nodes.map(({ id, health, standing, counts }) => ({
        id,
        health,
        standing,
        changedAt: counts.changedAtMs === 0 ? null : new Date(counts.changedAtMs).toISOString(),
        counts: counts.named,
      })),
    };
  }

  get #total(): Record<string, number> {
    const { accessLog } = this.#shared;
    return {
      connections: this.connections,
      upstreams: this.#dials.upstreams,
      waiting: this.dispatcher.waiting,
      ...this.pool.counters.named,
      ...(accessLog === undefined
        ? {}
        : { accessLogLines: accessLog.lines, accessLogDropped: accessLog.dropped }),
    };
  }

  #expire(): void {
    const nowMs = performance.now();
    this.#clock.nowMs = nowMs;
    for (const set of [this.#live, this.#entrance.refusals]) {
      for (const live of set) {
        if (nowMs < live.expiresMs) continue;
        live.expiresMs = Number.POSITIVE_INFINITY;
        live.expired();
      }
    }
  }

  #healthChanged(node: PoolNode, before: Health, why: string): void {
    const { id, health } = node;
    if (health === "up") this.pool.came(node, performance.now());
    this.#log[health === "up" ? "info" : "warn"]({ node: id, before, why }, `node is ${health}`);
    this.dispatcher.serve();
  }

  /**
   * A refused TCP connection and a missing socket file mean a dead node; on a unix socket a full
   * backlog refuses too, so ask.
   */
  #dialFailed({ node }: Lease, code: string): void {
    const isUnix = "unix" in node.address;
    if (code === "ENOENT" || (code === "ECONNREFUSED" && !isUnix)) this.checks.refused(node);
    else this.checks.checkNow(node);
  }
}
