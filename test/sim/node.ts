// A simulated node process: the real uplinks, canaries, hub and sessions, wired and timed as
// src/node/node.ts does it.

import { ANYONE } from "../../src/node/app/authentication.ts";
import type { AppOptions } from "../../src/node/app/index.ts";
import { Rules } from "../../src/node/app/rules.ts";
import { Channels } from "../../src/node/channels/channels.ts";
import { createCluster } from "../../src/node/channels/cluster-api.ts";
import type { Frame } from "../../src/node/codec/encoding.ts";
import type { Socket } from "../../src/node/session/client-writer.ts";
import { departures } from "../../src/node/session/drain.ts";
import { ClientSession } from "../../src/node/session/session.ts";
import type { SessionContext } from "../../src/node/session/session-context.ts";
import { GROUPS, Sessions } from "../../src/node/session/sessions.ts";
import { BEAT_MS, Canary } from "../../src/node/uplink/canary.ts";
import { producerFor } from "../../src/node/uplink/identity.ts";
import { Uplink } from "../../src/node/uplink/uplink.ts";
import { below, type Random } from "../../src/runtime/random.ts";
import { ownerOf } from "../../src/wire/channel-name.ts";
import type { Cable, End, Network } from "./cable.ts";
import { SECRET, SimLink } from "./link.ts";
import { Process } from "./process.ts";
import type { SimRelay } from "./relay.ts";

/** What WebSockets say by themselves: the handshake, ping and pong. */
export const UPGRADE = "\0upgrade";
export const UPGRADED = "\0upgraded";
export const PING = "\0ping";
export const PONG = "\0pong";

const PING_MS = 2000;
const SWEEP_MS = 1000;
const RESUME_MS = 20;
const LEAVE_MS = 250;
/** What the kernel takes for a client before anything counts as buffered. */
const KERNEL_BYTES = 32 * 1024;

export class SimNode {
  readonly process: Process;
  readonly links: SimLink[] = [];
  readonly sockets = new Set<SimSocket>();
  readonly #accepted = new Set<SimSocket>();
  readonly uplinks: readonly Uplink[];
  readonly sessions = new Sessions();
  readonly desk: SessionContext;
  readonly network: Network;
  readonly #canaries: readonly Canary[];
  readonly #hub: Channels;
  #flushAtMs = Number.POSITIVE_INFINITY;
  #state: "starting" | "up" | "draining" = "starting";
  #sessionCount = 0;

  constructor(
    name: string,
    network: Network,
    random: Random,
    relays: readonly SimRelay[],
    app: AppOptions<string>,
  ) {
    const { clock } = network;
    const relayIds = relays.map(({ id }) => id);
    const nowMs = () => Math.floor(clock.now);
    this.network = network;
    this.process = new Process(name, clock);
    const rules = new Rules(app);
    this.uplinks = relays.map((relay, index) => {
      const dial = (events: ConstructorParameters<typeof SimLink>[4]) => {
        this.links[index] = new SimLink(network, this.process, relay, "node", events);
        return this.links[index];
      };
      const random32 = () => below(random, 2 ** 32);
      return new Uplink(relay.id, dial, random32, () => {});
    });
    const uplinkOf = (channel: string) => this.uplinks[ownerOf(channel, relayIds)];
    this.#hub = new Channels(
      rules,
      uplinkOf,
      (topic, frame) => this.#fanOut(topic, frame),
      nowMs,
      (untilMs) => this.#flushAt(untilMs),
    );
    const keyed = (key: string) => producerFor(SECRET, "key", undefined, key);
    this.desk = {
      node: name,
      pingMs: PING_MS,
      connectMs: 10_000,
      app,
      limits: rules.limits,
      channels: this.#hub,
      cluster: createCluster(name, this.#hub, keyed, () => {}),
      identify: (kind, user, text) => producerFor(SECRET, kind, user, text),
      resumeLater: (session) => this.process.after(RESUME_MS, () => session.resume()),
      failed: (what, error) => {
        throw new Error(`${name}: ${what} failed`, { cause: error });
      },
    };
    const nonce = `${name}.${below(random, 1_000_000)}`;
    const onProven = () => {
      if (this.#state === "starting" && this.isHealthy) this.#turn("up");
    };
    this.#canaries = this.uplinks.map(
      (uplink) => new Canary({ node: name, uplink, relays: relayIds, nonce, nowMs, onProven }),
    );
    this.#tick();
  }

  get name(): string {
    return this.process.name;
  }

  /** Whether every relay has delivered to it lately. */
  get isHealthy(): boolean {
    return this.#canaries.every(({ isProven }) => isProven);
  }

  get isUp(): boolean {
    return this.#state === "up";
  }

  /** The node's end of a new client's connection. */
  accept(cable: () => Cable<string>): End<string> {
    const socket = new SimSocket(this, cable);
    this.#accepted.add(socket);
    return {
      process: this.process,
      receive: (text) => this.#receive(socket, text),
      closed: () => socket.ended(),
    };
  }

  kill(): void {
    this.process.kill();
    for (const link of this.links) link.cable?.died(0);
    for (const socket of this.#accepted) socket.cable().died(1);
  }

  gone(socket: SimSocket): void {
    this.#accepted.delete(socket);
    this.sockets.delete(socket);
  }

  #receive(socket: SimSocket, text: string): void {
    if (text === PONG) socket.session?.heard();
    else if (text !== UPGRADE) socket.session?.frameReceived(text);
    else if (this.#state === "up") socket.open(`${this.name}.${++this.#sessionCount}`);
    else socket.close(1006);
  }

  drain(): void {
    if (this.#state !== "up") return;
    this.#turn("draining");
    for (const { client, afterMs } of departures([...this.sessions], this.network.random)) {
      client.sendGoodbye("the node is going away", afterMs);
      this.process.after(afterMs + LEAVE_MS, () => this.#sendAway(client));
    }
  }

  undrain(): void {
    if (this.#state === "draining") this.#turn("up");
  }

  #sendAway(session: ClientSession): void {
    if (this.#state !== "draining") return;
    if (session.isBusy) this.process.after(LEAVE_MS, () => this.#sendAway(session));
    else session.close("goodbye");
  }

  #turn(state: "up" | "draining"): void {
    this.#state = state;
    this.#register();
  }

  #register(): void {
    const membership = {
      address: `unix:/${this.name}`,
      state: this.#state,
      connections: this.sessions.size,
    };
    for (const uplink of this.uplinks) uplink.register(membership);
  }

  #tick(): void {
    const { clock } = this.network;
    const visitMs = PING_MS / GROUPS;
    let visitedAt = clock.now;
    this.process.every(visitMs, () => {
      this.sessions.visitNext(clock.now - visitedAt > PING_MS / 2 + visitMs);
      visitedAt = clock.now;
    });
    this.process.every(SWEEP_MS, () => {
      this.#hub.sweep();
      for (const uplink of this.uplinks) uplink.tick(Math.floor(clock.now));
      this.sessions.check(Math.floor(clock.now));
      this.#register();
    });
    const beat = () => {
      for (const canary of this.#canaries) canary.beat();
    };
    beat();
    this.process.every(BEAT_MS, beat);
  }

  #flushAt(untilMs: number): void {
    if (untilMs >= this.#flushAtMs) return;
    this.#flushAtMs = untilMs;
    this.process.after(Math.max(0, untilMs - this.network.clock.now), () => {
      this.#flushAtMs = Number.POSITIVE_INFINITY;
      this.#hub.flush();
    });
  }

  #fanOut(topic: string, frame: Frame): void {
    for (const socket of this.sockets) if (socket.topics.has(topic)) socket.send(frame);
  }
}

/** The node's end of a client's WebSocket, as Bun makes it. */
export class SimSocket implements Socket {
  readonly cable: () => Cable<string>;
  readonly topics = new Set<string>();
  readonly #node: SimNode;
  session: ClientSession | undefined;
  /** What the client has not read yet. */
  #unread = 0;
  #isOpen = true;

  constructor(node: SimNode, cable: () => Cable<string>) {
    this.#node = node;
    this.cable = cable;
  }

  open(id: string): void {
    const { desk, sessions, sockets } = this.#node;
    this.session = new ClientSession(desk, id, "json", "", ANYONE);
    this.cable().onTaken = (text) => this.#wasRead(text.length);
    this.cable().send(1, UPGRADED);
    sockets.add(this);
    sessions.add(this.session);
    this.session.socketOpened(this);
  }

  send(frame: Frame): number {
    if (!this.#isOpen) return 0;
    const text = String(frame);
    this.#unread += text.length;
    this.cable().send(1, text);
    return text.length;
  }

  /** The client has read so much. */
  #wasRead(characters: number): void {
    const wasBehind = this.#unread > KERNEL_BYTES;
    this.#unread -= characters;
    if (wasBehind) this.#node.process.run(() => this.session?.socketDrained());
  }

  getBufferedAmount(): number {
    return Math.max(0, this.#unread - KERNEL_BYTES);
  }

  cork(work: () => void): void {
    work();
  }

  subscribe(topic: string): void {
    this.topics.add(topic);
  }

  unsubscribe(topic: string): void {
    this.topics.delete(topic);
  }

  /** Clients answer pings by themselves, as far as these arrive. */
  ping(): void {
    this.#unread += PING.length;
    this.cable().send(1, PING);
  }

  close(code: number): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.cable().close(1, code);
    this.#node.process.after(0, () => this.ended());
  }

  terminate(): void {
    this.close(1006);
  }

  ended(): void {
    this.#isOpen = false;
    this.#node.gone(this);
    if (this.session === undefined) return;
    this.#node.sessions.delete(this.session);
    this.session.socketClosed();
    this.session = undefined;
  }
}
