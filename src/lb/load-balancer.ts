// The running lb: its listener, the sweep that watches every deadline, its counts, and its end. One
// object a process.

import type { SocketHandler, TCPSocketListener } from "bun";
import { formatAddress } from "../runtime/arguments.ts";
import { COUNTED_NODES_MAX, type LbCounters } from "../runtime/child-ipc.ts";
import { areDescriptorsFree, fileDescriptorLimit } from "../runtime/file-descriptors.ts";
import type { Logger } from "../runtime/log.ts";
import { AcceptPause } from "./accept/accept-pause.ts";
import { type AcceptContext, Acceptor, REFUSALS_MAX } from "./accept/acceptor.ts";
import { Admission } from "./accept/admission.ts";
import type { Certificates } from "./accept/certificate-files.ts";

import { secureWith } from "./accept/tls.ts";
import { HttpDate } from "./http/date.ts";
import { cookieValue, viaName } from "./http/keyed.ts";
import { WriteBuffer } from "./net/byte-sink.ts";
import { type Expiring, expireDue } from "./net/expiring.ts";
import { PacedQueue } from "./net/pace.ts";
import { type SocketCallbacks, type SocketOwner, socketCallbacks } from "./net/socket-owner.ts";
import type { Options } from "./options.ts";
import { HttpConnection } from "./proxying/connection.ts";
import type { LoadBalancerContext } from "./proxying/context.ts";
import { LingeringClose } from "./proxying/lingering-close.ts";
import type { AccessLog } from "./telemetry/access-log.ts";
import { HealthCheck } from "./upstreams/checks.ts";
import { Dispatcher, type Lease } from "./upstreams/dispatch.ts";
import { type Health, Pool, type PoolNode } from "./upstreams/pool.ts";
import {
  type UpstreamEvent,
  type UpstreamPorts,
  type UpstreamReport,
  UpstreamSync,
} from "./upstreams/upstream-sync.ts";

/** How often deadlines are looked at, and so how late they may be. */
const SWEEP_MS = 250;
/**
 * How long a stopping lb waits for what is under way: first for its natural end, then for the end
 * it is given.
 */
const STOP_GRACEFUL_MS = 400;
const STOP_FORCED_MS = 300;
/** File descriptors that are no client's: links, checks, logs, the listener, refusals. */
const RESERVED_FDS = 96 + REFUSALS_MAX;

/** Grows where a head needs more. */
const HEAD_BUFFER_BYTES = 4096;

export class LoadBalancer {
  readonly pool: Pool;
  readonly upstreams: UpstreamSync;
  /** Sends what this lb counts to the relays; set by the process that links to them. */
  sendReport: (report: UpstreamReport) => void = () => {};
  readonly dispatcher: Dispatcher;
  readonly #options: Options;
  readonly #log: Logger;
  readonly #admission: Admission;
  readonly #expiring = new Set<Expiring>();
  readonly #clock = { nowMs: performance.now() };
  readonly #dials: LoadBalancerContext["dials"];
  readonly #context: LoadBalancerContext;
  readonly #sweep: ReturnType<typeof setInterval>;
  readonly #acceptor: Acceptor;
  readonly #acceptPause = new AcceptPause();
  /** `paused`: no file descriptors are left. */
  #accepting: "yes" | "paused" | "no" = "no";
  /** Undefined: it does not drain. */
  #sendAwayFromMs: number | undefined;
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
    const callbacks = socketCallbacks(log, (socket) => socket.data.socketOpened(socket));
    const nodeAnswered = () => this.dispatcher.serveQueue();
    this.upstreams = new UpstreamSync(
      {
        ...numbers,
        id: options.id,
        pool: this.pool,
        checksProveAcceptance: options.checkPath !== undefined,
        cookieOf: (node) => cookieValue(key, node),
        connections: () => this.connections,
      },
      this.#upstreamPorts(callbacks),
    );
    this.#dials = {
      callbacks,
      upstreams: 0,
      dialFailed: (lease, code) => this.#dialFailed(lease, code),
      nodeAnswered,
    };
    const lb = this;
    this.#context = {
      options,
      clock: this.#clock,
      date: new HttpDate(() => Date.now()),
      pool: this.pool,
      dispatcher: this.dispatcher,
      dials: this.#dials,
      disconnects: new PacedQueue(
        numbers.endingsPerSecond,
        () => performance.now(),
        (work) => setTimeout(work, 1),
      ),
      expiring: this.#expiring,
      headBuffer: new WriteBuffer(HEAD_BUFFER_BYTES),
      accessLog,
      via: viaName(key),
      get ownHost() {
        return lb.#ownHost;
      },
    };
    const secure = certificates === undefined ? undefined : secureWith(certificates, log);
    this.#acceptor = new Acceptor(this.#acceptContext(), this.#admission, secure);
    this.#sweep = setInterval(() => this.#expire(), SWEEP_MS);
  }

  #upstreamPorts(callbacks: SocketCallbacks): UpstreamPorts {
    const { checkPath, numbers } = this.#options;
    const { checkTimeoutMs } = numbers;
    return {
      now: () => performance.now(),
      time: () => Date.now(),
      random: () => Math.random(),
      after(ms, work) {
        const timer = setTimeout(work, ms);
        return () => clearTimeout(timer);
      },
      check(node, done) {
        const check = new HealthCheck(node, { checkPath, checkTimeoutMs }, done);
        check.start(callbacks);
        return () => check.giveUp();
      },
      report: (report) => this.sendReport(report),
      healthChanged: (node, before, why) => this.#healthChanged(node, before, why),
      nodeAnswered: () => this.dispatcher.serveQueue(),
      poolChanged: () => this.dispatcher.serveQueue(),
      happened: (event) => this.#logUpstreamEvent(event),
    };
  }

  #logUpstreamEvent(event: UpstreamEvent): void {
    const { node } = event;
    if (event.kind === "nodeLeft") this.#log.info({ node }, "node left");
    else if (event.kind === "nodeCame")
      this.#log.info({ node, address: event.address }, "node came");
    else this.#log.error({ node, err: event.error }, "a node with an address that cannot be used");
  }

  #acceptContext(): AcceptContext {
    const context = this.#context;
    return {
      options: this.#options,
      clock: this.#clock,
      date: context.date,
      counters: this.pool.counters,
      accessLog: context.accessLog,
      expiring: this.#expiring,
      connectionAdmitted(socket, slot, transport) {
        socket.data = new HttpConnection(context, socket, slot, transport);
      },
      closeRefused(socket, writer, closing) {
        new LingeringClose(context, closing, {
          socket,
          writer,
          slot: undefined,
          trailing: undefined,
        });
      },
    };
  }

  get connections(): number {
    return this.#admission.connections;
  }

  /**
   * Starts to take connections; returns the real address. Throws what Bun.listen throws, such as
   * EADDRINUSE.
   */
  listen(): string {
    this.#listen();
    this.#accepting = "yes";
    this.#ownHost = formatAddress({ host: this.#options.listen.host, port: this.#port });
    return this.#ownHost;
  }

  #listen(): void {
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
  }

  /**
   * Those of what the listener accepts. Without `data`, nobody is handed a copy of all that TLS
   * reads underneath.
   */
  #callbacks(): SocketHandler<SocketOwner> {
    const { data, ...others } = socketCallbacks(this.#log, (socket) =>
      this.#acceptor.accept(socket, performance.now()),
    );
    const readsPlain = this.#acceptor.secure === undefined || this.#options.proxyProtocol;
    return readsPlain ? { data, ...others } : others;
  }

  /** Accepts no new connections; existing ones stay. */
  close(): void {
    this.#accepting = "no";
    this.#stopListener();
  }

  #stopListener(): void {
    this.#listener?.stop();
    this.#listener = undefined;
  }

  /**
   * Accepts no new connections; existing ones end after what is under way, and WebSockets that are
   * left after `drainMs` are closed at a pace.
   */
  drain(): void {
    this.close();
    this.#sendAwayFromMs = performance.now() + this.#options.numbers.drainMs;
  }

  /** Back to work. Throws what `listen` throws. */
  undrain(): void {
    this.#sendAwayFromMs = undefined;
    this.listen();
  }

  /** Ends everything under way: gracefully at first, then by force. */
  async stop(): Promise<void> {
    this.close();
    this.upstreams.stopChecks();
    for (const waitMs of [STOP_GRACEFUL_MS, STOP_FORCED_MS]) {
      for (const live of this.#expiring) live.stop();
      const deadlineMs = performance.now() + waitMs;
      while (this.#expiring.size > 0 && performance.now() < deadlineMs) await Bun.sleep(10);
    }
    for (const live of this.#expiring) live.cut?.();
    // The sockets that were cut say so in the next turns.
    await Bun.sleep(10);
    clearInterval(this.#sweep);
  }

  /** All counts, for the log. */
  counts(): Record<string, unknown> {
    const nodes: Record<string, unknown> = {};
    for (const node of this.pool.nodes) {
      const { health, connections, backlog } = node;
      nodes[node.id] = {
        health,
        standing: node.adminState,
        connections,
        elsewhere: node.connectionsOnOtherLbs,
        unaccepted: backlog.unaccepted,
        backlogMax: backlog.max,
        counts: node.counts.named,
      };
    }
    return { live: this.#expiring.size, ...this.#total, nodes };
  }

  /** What has been counted since the start, for the supervisor. */
  counters(): LbCounters {
    const nodes = [...this.pool.nodes].slice(0, COUNTED_NODES_MAX);
    return {
      total: this.#total,
      nodes: nodes.map(({ id, health, adminState, counts }) => ({
        id,
        health,
        standing: adminState,
        changedAt: counts.changedAtMs === 0 ? null : new Date(counts.changedAtMs).toISOString(),
        counts: counts.named,
      })),
    };
  }

  get #total(): Record<string, number> {
    const { accessLog } = this.#context;
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
    expireDue(this.#expiring, nowMs);
    expireDue(this.#acceptor.refusals, nowMs);
    if (this.#accepting !== "no") this.#watchDescriptors(nowMs);
    if (this.#sendAwayFromMs !== undefined) this.#drainOn(nowMs, this.#sendAwayFromMs);
  }

  #drainOn(nowMs: number, sendAwayFromMs: number): void {
    for (const live of this.#expiring) live.drain?.();
    if (nowMs < sendAwayFromMs) return;
    let left = Math.ceil((this.#options.numbers.endingsPerSecond * SWEEP_MS) / 1000);
    for (const live of this.#expiring) {
      if (live.sendAway?.() === true) left--;
      if (left === 0) return;
    }
  }

  #watchDescriptors(nowMs: number): void {
    const verdict = this.#acceptPause.check(nowMs, areDescriptorsFree);
    if (verdict === undefined) return;
    const { connections } = this;
    if (verdict === "pause") {
      this.#accepting = "paused";
      this.#stopListener();
      this.#log.error({ connections }, "no file descriptors are left: no new connections");
      return;
    }
    try {
      this.#listen();
      this.#accepting = "yes";
      this.#log.info({ connections }, "new connections again");
    } catch (error) {
      this.#acceptPause.resumeFailed(nowMs);
      this.#log.error({ err: error }, "cannot listen again");
    }
  }

  #healthChanged(node: PoolNode, before: Health, why: string): void {
    const { id, health } = node;
    if (health === "up") this.pool.nodeBecameAvailable(node, performance.now());
    this.#log[health === "up" ? "info" : "warn"]({ node: id, before, why }, `node is ${health}`);
    this.dispatcher.serveQueue();
  }

  /**
   * A refused TCP connection and a missing socket file mean a dead node; on a unix socket a full
   * backlog refuses too, so ask.
   */
  #dialFailed({ node }: Lease, code: string): void {
    const isUnix = "unix" in node.address;
    if (code === "ENOENT" || (code === "ECONNREFUSED" && !isUnix)) this.upstreams.nodeRefused(node);
    else this.upstreams.checkNow(node);
  }
}
