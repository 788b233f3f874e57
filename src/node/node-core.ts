// One node without its sockets: uplinks to every relay, channels, sessions, canaries, and the
// schedule of periodic work. Pure: links, clock, randomness and the native publish are ports.

import { UsageError } from "../runtime/arguments.ts";
import type { ChildStatus } from "../runtime/child-ipc.ts";
import type { Cancel, Clock } from "../runtime/clock.ts";
import { type LinkEvents, WRONG_SECRET } from "../runtime/link-core.ts";
import { EVERYONE, ownerOf } from "../wire/channel-name.ts";
import type { ErrorCode } from "../wire/codes.ts";
import { Alarm } from "./alarm.ts";
import type { Hook } from "./app/hooks.ts";
import type { AppOptions, Cluster } from "./app/index.ts";
import { DEFAULT_ROUTE, type Rules } from "./app/rules.ts";
import { Channels } from "./channels/channels.ts";
import { createCluster } from "./channels/cluster-api.ts";
import type { Frame } from "./codec/encoding.ts";
import { Backlog } from "./session/backlog.ts";
import { Budgets } from "./session/budget.ts";
import { departures } from "./session/drain.ts";
import type { ClientSession } from "./session/session.ts";
import type { Refusal, Resumable, SessionContext } from "./session/session-context.ts";
import { GROUPS, Sessions } from "./session/sessions.ts";
import { BEAT_MS, Canary } from "./uplink/canary.ts";
import { Identities } from "./uplink/identity.ts";
import { type LinkPort, type OnLinkChange, Uplink } from "./uplink/uplink.ts";

export type NodeCoreOptions = {
  readonly id: string;
  /** Their ids, in the order that all processes of the cluster share. */
  readonly relays: readonly string[];
  readonly secret: string;
  readonly app: AppOptions<string>;
  readonly rules: Rules;
  readonly pingMs: number;
  /** How long a client may take to connect with its token, ms. */
  readonly connectMs: number;
};

/** For the log. */
export type NodeEvents = {
  stateChanged(state: ChildStatus["state"]): void;
  linkChanged(relay: string, ...change: Parameters<OnLinkChange>): void;
  /** A publication of the app was not taken. */
  notPublished(channel: string, code: ErrorCode): void;
  /** A function of the app has not answered in time. */
  hookTimedOut(hook: Hook, session: string): void;
  /** The app, or this node, threw. */
  failed(what: string, error: unknown, session: string): void;
  /** A client is closed by this node. */
  clientClosed(ended: Refusal & { readonly durationMs: number }): void;
  /** A request or a handshake was refused. */
  refused(refusal: Refusal): void;
};

export type NodePorts = {
  readonly clock: Clock;
  /** From 0 up to 1. */
  readonly random: () => number;
  /** An unsigned 32-bit integer that nobody can guess. */
  readonly random32: () => number;
  /** An id that nobody can guess. */
  readonly createId: () => string;
  /** A link to a relay, by its index; it dials at once, and again whenever it is lost. */
  link(relay: number, events: LinkEvents): LinkPort;
  /** Gives a frame to every socket that has joined the native topic. */
  publish(topic: string, frame: Frame): void;
  /** Where this node listens. */
  address(): string;
  readonly events: NodeEvents;
};

export type Health = {
  readonly isHealthy: boolean;
  readonly relays: readonly { readonly id: string; readonly delivers: boolean }[];
};

const SWEEP_MS = 1000;
/** How long a session that exceeds its request rate waits before it resumes, ms. */
const RESUME_MS = 20;
/** Slow readers are checked for after so many published bytes, at most this often. */
const CHECK_BYTES = 256 * 1024;
const CHECK_MS = 50;
/** How long a client may stay on a draining node after the time it was told to leave, ms. */
const LEAVE_MS = 250;
/** How long a stopping node waits for its clients to leave, ms. */
const DRAIN_MS = 4000;
/** How long a stopping node waits for relays to acknowledge its publications, ms. */
const ANSWER_MS = 1000;
const WAIT_STEP_MS = 10;

export class NodeCore {
  readonly sessions = new Sessions();
  readonly uplinks: readonly Uplink[];
  /** What sessions need of this node. */
  readonly context: SessionContext;
  readonly #options: NodeCoreOptions;
  readonly #ports: NodePorts;
  readonly #identities: Identities;
  readonly #canaries: readonly Canary[];
  readonly #channels: Channels;
  readonly #cluster: Cluster;
  readonly #flushAlarm: Alarm;
  readonly #backlog: Backlog;
  readonly #timers: Cancel[] = [];
  /** Timers that close clients which do not leave by themselves. */
  #departing: Cancel[] = [];
  #state: "starting" | "up" | "draining" | "stopping" = "starting";
  /** Resolved when every relay has delivered; rejected when one has another secret. */
  readonly #proven = Promise.withResolvers<void>();
  /** What the relays were last told, as JSON. */
  #registered = "";
  readonly #resuming = new Set<Resumable>();
  #fannedOutBytes = 0;
  #isCheckDue = false;

  /** Dials the relays at once. */
  constructor(options: NodeCoreOptions, ports: NodePorts) {
    const { id, relays, secret, rules } = options;
    const { clock, events } = ports;
    this.#options = options;
    this.#ports = ports;
    this.#identities = new Identities(secret);
    this.#proven.promise.catch(() => {});
    this.#backlog = new Backlog(rules.limits.unsentBytes);
    this.#flushAlarm = new Alarm(clock, () => this.#channels.flush());
    this.uplinks = relays.map((relay, index) => this.#createUplink(relay, index));
    this.#channels = new Channels({
      rules,
      uplinkOf: (channel) => this.uplinks[ownerOf(channel, relays)],
      publishToTopic: (topic, frame, readers) => this.#fanOut(topic, frame, readers),
      relieve: () => this.#relieve(),
      nowMs: this.#nowMs,
      wallMs: clock.wallMs,
      scheduleFlush: (dueMs) => this.#flushAlarm.set(dueMs),
    });
    this.#channels.open(EVERYONE, DEFAULT_ROUTE, true);
    this.#cluster = createCluster(id, this.#channels, this.#identities, (channel, code) =>
      events.notPublished(channel, code),
    );
    const onProven = () => {
      if (this.#canaries.every((canary) => canary.isProven)) this.#proven.resolve();
    };
    this.#canaries = this.uplinks.map(
      (uplink) =>
        new Canary({
          node: id,
          uplink,
          relays,
          nonce: ports.createId(),
          nowMs: this.#nowMs,
          onProven,
        }),
    );
    this.context = this.#createContext();
    this.#schedule();
  }

  get status(): ChildStatus {
    const state = this.#state === "stopping" ? "draining" : this.#state;
    return { state, connections: this.sessions.size };
  }

  /** Whether new clients are taken. */
  get isOpen(): boolean {
    return this.#state === "up";
  }

  /** Whether this node works, and which relays deliver to it. */
  get health(): Health {
    const relays = this.#canaries.map(({ relay, isProven }) => ({ id: relay, delivers: isProven }));
    const isHealthy = this.#state !== "starting" && relays.every(({ delivers }) => delivers);
    return { isHealthy, relays };
  }

  /**
   * Resolves when every relay has delivered to this node and the app has started. Rejects with
   * UsageError, or what the app throws.
   */
  async start(): Promise<void> {
    this.#beat();
    await this.#proven.promise;
    await this.#options.app.start?.(this.#cluster);
    if (this.#state === "starting") this.#enter("up");
  }

  /** Takes no new clients, and sends the others away, spread over time. */
  drain(): void {
    if (this.#state === "draining" || this.#state === "stopping") return;
    this.#enter("draining");
    for (const { client, afterMs } of departures([...this.sessions], this.#ports.random)) {
      client.sendGoodbye("the node is going away", afterMs);
      this.#sendAwayAfter(client, afterMs + LEAVE_MS);
    }
  }

  /** Takes clients again. */
  undrain(): void {
    if (this.#state !== "draining") return;
    this.#cancelDepartures();
    this.#enter("up");
  }

  /** Drains. Resolves when the server can be closed; call `end` after that. */
  async stop(): Promise<void> {
    this.drain();
    this.#state = "stopping";
    await this.#until(() => this.sessions.size === 0, DRAIN_MS);
    const isAnswered = () => this.uplinks.every((uplink) => uplink.unacknowledged === 0);
    await this.#until(isAnswered, ANSWER_MS);
    for (const cancel of this.#timers) cancel();
    this.#flushAlarm.cancel();
    this.#cancelDepartures();
  }

  /** Ends the links. */
  end(): void {
    for (const uplink of this.uplinks) uplink.end();
  }

  /** Whole milliseconds: what happens in one of them goes out together. */
  readonly #nowMs = (): number => Math.floor(this.#ports.clock.monotonicMs());

  #createUplink(relay: string, index: number): Uplink {
    const { random32, events } = this.#ports;
    return new Uplink(
      relay,
      (linkEvents) => this.#ports.link(index, linkEvents),
      random32,
      (change, reason) => {
        events.linkChanged(relay, change, reason);
        // What waits for its answers need not wait for other relays'.
        if (change === "link lost") for (const session of this.sessions) session.resume();
        if (reason === WRONG_SECRET) this.#proven.reject(otherSecret(relay));
      },
    );
  }

  #createContext(): SessionContext {
    const { id, pingMs, connectMs, app, rules } = this.#options;
    const { clock, events } = this.#ports;
    return {
      node: id,
      pingMs,
      connectMs,
      app,
      limits: rules.limits,
      budgets: new Budgets(rules.limits),
      backlog: this.#backlog,
      monotonicMs: clock.monotonicMs,
      relieve: () => this.#relieve(),
      closing: (ended) => events.clientClosed(ended),
      refused: (refusal) => events.refused(refusal),
      channels: this.#channels,
      cluster: this.#cluster,
      uplinkOf: (channel) => this.uplinks[ownerOf(channel, this.#options.relays)],
      identities: this.#identities,
      resumeLater: (session) => this.#resumeLater(session),
      hookTimedOut: (hook, session) => events.hookTimedOut(hook, session),
      failed: (what, error, session) => events.failed(what, error, session),
    };
  }

  #schedule(): void {
    const { clock } = this.#ports;
    const { pingMs } = this.#options;
    const visitMs = pingMs / GROUPS;
    let visitedAtMs = clock.monotonicMs();
    const visit = () => {
      const nowMs = clock.monotonicMs();
      this.sessions.visitNext(nowMs - visitedAtMs > pingMs / 2 + visitMs);
      visitedAtMs = nowMs;
    };
    this.#timers.push(
      clock.every(visitMs, visit),
      clock.every(SWEEP_MS, () => this.#sweep()),
      clock.every(BEAT_MS, () => this.#beat()),
    );
  }

  #sweep(): void {
    this.#channels.sweep();
    for (const uplink of this.uplinks) uplink.tick(this.#nowMs());
    this.#checkSessions();
    this.#backlog.relieve(this.sessions);
    this.#register();
  }

  #checkSessions(): void {
    this.sessions.check(this.#nowMs(), this.#ports.clock.wallMs());
  }

  #beat(): void {
    for (const canary of this.#canaries) canary.beat();
  }

  #enter(state: ChildStatus["state"]): void {
    this.#state = state;
    this.#ports.events.stateChanged(state);
    this.#register();
  }

  /** Registers this node with the relays, if its membership has changed. */
  #register(): void {
    const membership = { address: this.#ports.address(), ...this.status };
    const registered = JSON.stringify(membership);
    if (registered === this.#registered) return;
    this.#registered = registered;
    for (const uplink of this.uplinks) uplink.register(membership);
  }

  #fanOut(topic: string, frame: Frame, readers: number): void {
    this.#ports.publish(topic, frame);
    this.#backlog.given(frame.length * readers);
    this.#fannedOutBytes += frame.length;
    if (this.#fannedOutBytes < CHECK_BYTES || this.#isCheckDue) return;
    this.#isCheckDue = true;
    const { clock } = this.#ports;
    clock.after(CHECK_MS, () => {
      this.#isCheckDue = false;
      this.#fannedOutBytes = 0;
      this.#checkSessions();
    });
  }

  #relieve(): void {
    if (this.#backlog.isDue) this.#backlog.relieve(this.sessions);
  }

  #resumeLater(session: Resumable): void {
    this.#resuming.add(session);
    if (this.#resuming.size > 1) return;
    this.#ports.clock.after(RESUME_MS, () => {
      const resuming = [...this.#resuming];
      this.#resuming.clear();
      for (const each of resuming) each.resume();
    });
  }

  /** Closes a client that has not left by then, once its publications are answered. */
  #sendAwayAfter(session: ClientSession, delayMs: number): void {
    const cancel = this.#ports.clock.after(delayMs, () => {
      if (session.isBusy) this.#sendAwayAfter(session, LEAVE_MS);
      else session.close("goodbye");
    });
    this.#departing.push(cancel);
  }

  #cancelDepartures(): void {
    for (const cancel of this.#departing) cancel();
    this.#departing = [];
  }

  /** Resolves when the condition holds, or the time is over. */
  #until(holds: () => boolean, withinMs: number): Promise<void> {
    const { clock } = this.#ports;
    const deadlineMs = clock.monotonicMs() + withinMs;
    return new Promise((resolve) => {
      const look = () => {
        if (holds() || clock.monotonicMs() >= deadlineMs) resolve();
        else clock.after(WAIT_STEP_MS, look);
      };
      look();
    });
  }
}

const otherSecret = (relay: string): UsageError =>
  new UsageError(
    `The cluster secret of ${relay} is another: give every process the same --secret-file.`,
  );
