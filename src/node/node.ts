// One node, put together: links to every relay, the hub, the sessions, the web server; and the
// clock that drives what is due.

import { type Address, formatAddress, type NamedRelay, UsageError } from "../runtime/arguments.ts";
import type { ChildStatus } from "../runtime/child-ipc.ts";
import { Link, WRONG_SECRET } from "../runtime/link.ts";
import { type Logger, loggable } from "../runtime/log.ts";
import { EVERYONE, ownerOf } from "../wire/channel-name.ts";
import { Alarm } from "./alarm.ts";
import type { AppOptions, Cluster } from "./app/index.ts";
import { DEFAULT_ROUTE, type Rules } from "./app/rules.ts";
import { Channels } from "./channels/channels.ts";
import { createCluster } from "./channels/cluster-api.ts";
import type { Frame } from "./codec/encoding.ts";
import { WebServer } from "./server.ts";
import { departures } from "./session/drain.ts";
import type { ClientSession } from "./session/session.ts";
import type { Resumable, SessionContext } from "./session/session-context.ts";
import { GROUPS, Sessions } from "./session/sessions.ts";
import { BEAT_MS, Canary } from "./uplink/canary.ts";
import { producerFor } from "./uplink/identity.ts";
import { Uplink } from "./uplink/uplink.ts";

export type NodeOptions = {
  readonly id: string;
  readonly address: Address;
  /** In the order that all processes of the cluster share. */
  readonly relays: readonly NamedRelay[];
  readonly secret: string;
  readonly app: AppOptions<string>;
  readonly rules: Rules;
  readonly pingMs: number;
  /** How long a client may take to connect with its token, ms. */
  readonly connectMs: number;
  /** Clients that may be connected, where the app does not say. */
  readonly connectionsMax: number;
  readonly log: Logger;
};

const SWEEP_MS = 1000;
/** How long a session that asked too much at once waits for its next turn, ms. */
const RESUME_MS = 20;
/**
 * Slow readers are looked for when so many bytes have been published since the last time, but not
 * more often than this.
 */
const CHECK_BYTES = 256 * 1024;
const CHECK_MS = 50;
/**
 * How much longer than it was told a client may take to leave a draining node by itself, and how
 * long all of it may take, ms.
 */
const LEAVE_MS = 250;
const DRAIN_MS = 4000;
/** How long a stopping node waits for relays to answer for what it has sent them, ms. */
const ANSWER_MS = 1000;

export class ClusterNode {
  readonly #options: NodeOptions;
  readonly #uplinks: readonly Uplink[];
  readonly #canaries: readonly Canary[];
  readonly #hub: Channels;
  readonly #cluster: Cluster;
  readonly #sessions = new Sessions();
  readonly #server: WebServer;
  readonly #timers: ReturnType<typeof setInterval>[] = [];
  readonly #flushAlarm = new Alarm(Date.now, () => this.#hub.flush());
  #departing: ReturnType<typeof setTimeout>[] = [];
  #state: ChildStatus["state"] = "starting";
  #isStopping = false;
  /** While it starts: something has come back from a relay; a relay has another secret. */
  #onProven = () => {};
  #onHopeless = (_relay: string) => {};
  #registered = "";
  readonly #resuming = new Set<Resumable>();
  #fannedOutBytes = 0;
  #isCheckDue = false;

  /** Listens at once and dials the relays. Throws where it cannot listen. */
  constructor(options: NodeOptions) {
    const { id, relays, secret, rules, log } = options;
    const relayIds = relays.map((relay) => relay.id);
    this.#options = options;
    this.#uplinks = relays.map((relay) => this.#createUplink(relay));
    const uplinkOf = (channel: string) => this.#uplinks[ownerOf(channel, relayIds)];
    this.#hub = new Channels(
      rules,
      uplinkOf,
      (topic, frame) => this.#fanOut(topic, frame),
      Date.now,
      (untilMs) => this.#flushAlarm.set(untilMs),
    );
    this.#hub.open(EVERYONE, DEFAULT_ROUTE, true);
    this.#cluster = createCluster(
      id,
      this.#hub,
      (key) => producerFor(secret, "key", undefined, key),
      (channel, code) =>
        log.warn({ channel: loggable(channel), code }, "the app's publication was not taken"),
    );
    this.#canaries = this.#uplinks.map(
      (uplink) =>
        new Canary({
          node: id,
          uplink,
          relays: relayIds,
          nonce: crypto.randomUUID(),
          nowMs: Date.now,
          onProven: () => this.#onProven(),
        }),
    );
    this.#server = this.#createServer();
    this.#tick();
  }

  /** Where it listens, its real port included. */
  get address(): string {
    const { address } = this.#options;
    return formatAddress(
      "unix" in address ? address : { ...address, port: this.#server.port ?? address.port },
    );
  }

  get status(): ChildStatus {
    return { state: this.#state, connections: this.#sessions.size };
  }

  /**
   * Resolves when every relay has delivered to this node and the app has started. Rejects with
   * UsageError, or what the app throws.
   */
  async start(): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.#onProven = () => {
        if (this.#canaries.every((canary) => canary.isProven)) resolve();
      };
      this.#onHopeless = (relay) =>
        reject(
          new UsageError(
            `The cluster secret of ${relay} is another: give every process the same --secret-file.`,
          ),
        );
      for (const canary of this.#canaries) canary.beat();
    });
    this.#onProven = () => {};
    this.#onHopeless = () => {};
    await this.#options.app.start?.(this.#cluster);
    if (this.#state === "starting") this.#turn("up");
  }

  /** Takes no new clients and sends the others away, each at a moment of its own. */
  drain(): void {
    if (this.#state === "draining") return;
    this.#turn("draining");
    for (const { client, afterMs } of departures([...this.#sessions], Math.random)) {
      client.sendGoodbye("the node is going away", afterMs);
      this.#departing.push(setTimeout(() => this.#sendAway(client), afterMs + LEAVE_MS));
    }
  }

  /** Takes clients again. */
  undrain(): void {
    if (this.#state !== "draining" || this.#isStopping) return;
    for (const timer of this.#departing.splice(0)) clearTimeout(timer);
    this.#turn("up");
  }

  /** Drains, then ends everything. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    this.drain();
    await waitUntil(() => this.#sessions.size === 0, DRAIN_MS);
    await waitUntil(() => this.#uplinks.every((uplink) => uplink.unacknowledged === 0), ANSWER_MS);
    for (const timer of this.#timers) clearInterval(timer);
    this.#flushAlarm.cancel();
    for (const timer of this.#departing) clearTimeout(timer);
    await this.#server.stop();
    for (const uplink of this.#uplinks) uplink.end();
  }

  #createUplink({ id: relay, address }: NamedRelay): Uplink {
    const { id, secret, log } = this.#options;
    return new Uplink(
      relay,
      (events) => new Link({ address, secret, role: "node", id }, events),
      () => crypto.getRandomValues(new Uint32Array(1))[0],
      (change, reason) => {
        log[change === "linked" ? "info" : "warn"]({ relay, reason: loggable(reason) }, change);
        if (reason === WRONG_SECRET) this.#onHopeless(relay);
      },
    );
  }

  #createServer(): WebServer {
    const { id, address, app, rules, pingMs, connectMs, secret, connectionsMax, log } =
      this.#options;
    const context: SessionContext = {
      node: id,
      pingMs,
      connectMs,
      app,
      limits: rules.limits,
      channels: this.#hub,
      cluster: this.#cluster,
      identify: (kind, user, text) => producerFor(secret, kind, user, text),
      resumeLater: (session) => this.#resumeLater(session),
      failed: (what, err, session) => log.error({ err, session }, `${what} failed`),
    };
    return new WebServer({
      address,
      context,
      sessions: this.#sessions,
      connectionsMax: rules.limits.connections ?? connectionsMax,
      createId: () => crypto.randomUUID(),
      isOpen: () => this.#state === "up",
      health: () => this.#health(),
    });
  }

  #tick(): void {
    const { pingMs } = this.#options;
    const visitMs = pingMs / GROUPS;
    let visitedAt = performance.now();
    const visit = () => {
      const now = performance.now();
      this.#sessions.visitNext(now - visitedAt > pingMs / 2 + visitMs);
      visitedAt = now;
    };
    const sweep = () => {
      this.#hub.sweep();
      for (const uplink of this.#uplinks) uplink.tick(Date.now());
      this.#sessions.check(Date.now());
      this.#register();
    };
    const beat = () => {
      for (const canary of this.#canaries) canary.beat();
    };
    this.#timers.push(
      setInterval(visit, visitMs),
      setInterval(sweep, SWEEP_MS),
      setInterval(beat, BEAT_MS),
    );
  }

  #turn(state: ChildStatus["state"]): void {
    this.#state = state;
    this.#options.log.info({ address: this.address }, `node is ${state}`);
    this.#register();
  }

  /** Tells the relays how this node is, if that has changed. */
  #register(): void {
    const membership = { address: this.address, ...this.status };
    const said = JSON.stringify(membership);
    if (said === this.#registered) return;
    this.#registered = said;
    for (const uplink of this.#uplinks) uplink.register(membership);
  }

  #health(): Response {
    const relays = this.#canaries.map(({ relay, isProven }) => ({ id: relay, delivers: isProven }));
    const isHealthy = this.#state !== "starting" && relays.every(({ delivers }) => delivers);
    const body = { node: this.#options.id, ...this.status, relays };
    return Response.json(body, { status: isHealthy ? 200 : 503 });
  }

  #fanOut(topic: string, frame: Frame): void {
    this.#server.publish(topic, frame);
    this.#fannedOutBytes += frame.length;
    if (this.#fannedOutBytes < CHECK_BYTES || this.#isCheckDue) return;
    this.#isCheckDue = true;
    setTimeout(() => {
      this.#isCheckDue = false;
      this.#fannedOutBytes = 0;
      this.#sessions.check(Date.now());
    }, CHECK_MS);
  }

  #resumeLater(session: Resumable): void {
    this.#resuming.add(session);
    if (this.#resuming.size > 1) return;
    setTimeout(() => {
      const resuming = [...this.#resuming];
      this.#resuming.clear();
      for (const each of resuming) each.resume();
    }, RESUME_MS);
  }

  /** Closes a client that has not left by itself, once what it published is answered. */
  #sendAway(session: ClientSession): void {
    if (session.isBusy) this.#departing.push(setTimeout(() => this.#sendAway(session), LEAVE_MS));
    else session.close("goodbye");
  }
}

/** Resolves when it is so, or the time is over. */
async function waitUntil(isSo: () => boolean, withinMs: number): Promise<void> {
  const deadline = performance.now() + withinMs;
  while (!isSo() && performance.now() < deadline) await Bun.sleep(10);
}
