// One node on real sockets: binds Bun.serve, links to the relays, the system's clock and
// randomness, and the log to the node's core.

import { type Address, formatAddress, type NamedRelay } from "../runtime/arguments.ts";
import type { ChildStatus } from "../runtime/child-ipc.ts";
import { systemClock } from "../runtime/clock.ts";
import { Link } from "../runtime/link.ts";
import { type Logger, loggable } from "../runtime/log.ts";
import { FileReserve } from "./file-reserve.ts";
import { NodeCore, type NodeCoreOptions, type NodeEvents } from "./node-core.ts";
import { WebServer } from "./server.ts";
import type { Refusal } from "./session/session-context.ts";

/** How often it is looked at whether there are file descriptors left, ms. */
const LOOK_MS = 250;

export type NodeOptions = Omit<NodeCoreOptions, "relays"> & {
  readonly address: Address;
  /** In the order that all processes of the cluster share. */
  readonly relays: readonly NamedRelay[];
  /** Clients that may be connected at most; the app may want fewer. */
  readonly connectionsMax: number;
  /** Hosts that pages connect to; none: whatever the Host header says. */
  readonly publicHosts: readonly string[];
  readonly log: Logger;
};

export class ClusterNode {
  readonly #options: NodeOptions;
  readonly #core: NodeCore;
  readonly #server: WebServer;
  readonly #files = new FileReserve();
  readonly #stopLooking: () => void;

  /** Listens at once and dials the relays. Throws where it cannot listen. */
  constructor(options: NodeOptions) {
    const { id, address, relays, secret, rules, connectionsMax, publicHosts } = options;
    this.#options = options;
    const createId = () => crypto.randomUUID();
    this.#core = new NodeCore(
      { ...options, relays: relays.map(({ id }) => id) },
      {
        clock: systemClock,
        random: Math.random,
        random32: () => crypto.getRandomValues(new Uint32Array(1))[0],
        createId,
        link: (relay, events) =>
          new Link({ address: relays[relay].address, secret, role: "node", id }, events),
        publish: (topic, frame) => this.#server.publish(topic, frame),
        address: () => this.address,
        events: this.#logEvents(),
      },
    );
    this.#server = new WebServer({
      address,
      context: this.#core.context,
      sessions: this.#core.sessions,
      connectionsMax: Math.min(rules.limits.connections ?? connectionsMax, connectionsMax),
      publicHosts,
      createId,
      isOpen: () => this.#core.isOpen,
      isOutOfFiles: () => this.#files.isOut,
      health: () => this.#health(),
    });
    this.#stopLooking = systemClock.every(LOOK_MS, () => this.#lookAtFiles());
  }

  /** Where it listens, its real port included. */
  get address(): string {
    const { address } = this.#options;
    return formatAddress(
      "unix" in address ? address : { ...address, port: this.#server.port ?? address.port },
    );
  }

  get status(): ChildStatus {
    return this.#core.status;
  }

  /**
   * Resolves when every relay has delivered to this node and the app has started. Rejects with
   * UsageError, or what the app throws.
   */
  start(): Promise<void> {
    return this.#core.start();
  }

  /** Takes no new clients, and sends the others away, spread over time. */
  drain(): void {
    this.#core.drain();
  }

  /** Takes clients again. */
  undrain(): void {
    this.#core.undrain();
  }

  /** Drains, then ends everything. */
  async stop(): Promise<void> {
    await this.#core.stop();
    this.#stopLooking();
    await this.#server.stop();
    this.#files.release();
    this.#core.end();
  }

  #logEvents(): NodeEvents {
    const { log } = this.#options;
    return {
      stateChanged: (state) => log.info({ address: this.address }, `node is ${state}`),
      linkChanged: (relay, change, reason) =>
        log[change === "linked" ? "info" : "warn"]({ relay, reason: loggable(reason) }, change),
      notPublished: (channel, code) =>
        log.warn({ channel: loggable(channel), code }, "the app's publication was not taken"),
      hookTimedOut: ({ name, channel }, session) =>
        log.warn(
          { hook: name, channel: channel && loggable(channel), session },
          "the app has not answered in time",
        ),
      failed: (what, err, session) => log.error({ err, session }, `${what} failed`),
      clientClosed: ({ durationMs, ...ended }) =>
        log.info({ ...escaped(ended), durationMs: Math.round(durationMs) }, "client closed"),
      refused: (refusal) => {
        if (log.isLevelEnabled("debug")) log.debug(escaped(refusal), "refused");
      },
    };
  }

  #lookAtFiles(): void {
    const { log } = this.#options;
    if (!this.#files.look()) return;
    if (this.#files.isOut)
      log.error(
        "no file descriptors are left: what connects is refused; raise the limit (ulimit -n)",
      );
    else log.info("there are file descriptors again");
  }

  #health(): Response {
    const { isHealthy, relays } = this.#core.health;
    const body = { node: this.#options.id, ...this.status, relays };
    return Response.json(body, { status: isHealthy ? 200 : 503 });
  }
}

function escaped({ code, reason, session, user }: Refusal) {
  const who = user === undefined ? {} : { user: loggable(user) };
  return { code, reason: loggable(reason), session, ...who };
}
