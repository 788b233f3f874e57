// A simulated node process: the node's core on simulated links, and the sockets of its clients as
// Bun's server would make them.

import { ANYONE } from "../../src/node/app/authentication.ts";
import type { AppOptions } from "../../src/node/app/index.ts";
import { Rules } from "../../src/node/app/rules.ts";
import type { Frame } from "../../src/node/codec/encoding.ts";
import { NodeCore, type NodeEvents } from "../../src/node/node-core.ts";
import type { Socket } from "../../src/node/session/client-writer.ts";
import { ClientSession } from "../../src/node/session/session.ts";
import type { Uplink } from "../../src/node/uplink/uplink.ts";
import { below, type Random } from "../../src/runtime/random.ts";
import type { Cable, End, Network } from "./cable.ts";
import { Conversation } from "./conversation.ts";
import { SECRET, SimLink } from "./link.ts";
import { Process } from "./process.ts";
import type { SimRelay } from "./relay.ts";

/** What WebSockets say by themselves: the handshake, ping and pong. */
export const UPGRADE = "\0upgrade";
export const UPGRADED = "\0upgraded";
export const PING = "\0ping";
export const PONG = "\0pong";

const PING_MS = 2000;
const CONNECT_MS = 10_000;
/** What the kernel takes for a client before anything counts as buffered. */
const KERNEL_BYTES = 32 * 1024;

export class SimNode {
  readonly process: Process;
  readonly core: NodeCore;
  readonly links: SimLink[] = [];
  readonly sockets = new Set<SimSocket>();
  readonly #accepted = new Set<SimSocket>();
  #idCount = 0;

  constructor(
    name: string,
    network: Network,
    random: Random,
    relays: readonly SimRelay[],
    app: AppOptions<string>,
  ) {
    const process = new Process(name, network.clock);
    this.process = process;
    const nonce = below(random, 1_000_000);
    this.core = new NodeCore(
      {
        id: name,
        relays: relays.map(({ id }) => id),
        secret: SECRET,
        app,
        rules: new Rules(app),
        pingMs: PING_MS,
        connectMs: CONNECT_MS,
      },
      {
        clock: process,
        random,
        random32: () => below(random, 2 ** 32),
        createId: () => `${name}.${nonce}.${++this.#idCount}`,
        link: (relay, events) => {
          this.links[relay] = new SimLink(network, process, relays[relay], "node", events);
          return this.links[relay];
        },
        publish: (topic, frame) => {
          for (const socket of this.sockets) if (socket.topics.has(topic)) socket.send(frame);
        },
        address: () => `unix:/${name}`,
        events: eventsOf(name),
      },
    );
    void this.core.start();
  }

  get name(): string {
    return this.process.name;
  }

  get uplinks(): readonly Uplink[] {
    return this.core.uplinks;
  }

  /** What its health check answers. */
  get isHealthy(): boolean {
    return this.core.health.isHealthy;
  }

  /** The node's end of a new client's connection. */
  accept(cable: () => Cable<string>): End<string> {
    const socket = new SimSocket(this, cable);
    this.#accepted.add(socket);
    return {
      process: this.process,
      receive: (text) => this.#received(socket, text),
      closed: () => socket.ended(),
    };
  }

  kill(): void {
    this.process.kill();
    for (const link of this.links) link.cable?.died(0);
    for (const socket of this.#accepted) socket.cable().died(1);
  }

  drain(): void {
    this.process.run(() => this.core.drain());
  }

  undrain(): void {
    this.process.run(() => this.core.undrain());
  }

  gone(socket: SimSocket): void {
    this.#accepted.delete(socket);
    this.sockets.delete(socket);
  }

  #received(socket: SimSocket, text: string): void {
    if (text === PONG) socket.session?.heard();
    else if (text !== UPGRADE) socket.received(text);
    else if (this.core.isOpen) socket.open(`${this.name}.${++this.#idCount}`);
    else socket.close(1006);
  }
}

const eventsOf = (name: string): NodeEvents => ({
  stateChanged: () => {},
  linkChanged: () => {},
  notPublished: () => {},
  hookTimedOut: () => {},
  clientClosed: () => {},
  refused: () => {},
  failed: (what, error) => {
    throw new Error(`${name}: ${what} failed`, { cause: error });
  },
});

/** The node's end of a client's WebSocket, as Bun makes it. */
export class SimSocket implements Socket {
  readonly cable: () => Cable<string>;
  readonly topics = new Set<string>();
  readonly #node: SimNode;
  readonly #conversation: Conversation;
  session: ClientSession | undefined;
  /** What the client has not read yet. */
  #unread = 0;
  #isOpen = true;

  constructor(node: SimNode, cable: () => Cable<string>) {
    this.#node = node;
    this.#conversation = new Conversation(node.name);
    this.cable = cable;
  }

  open(id: string): void {
    const { core, sockets } = this.#node;
    this.session = new ClientSession(core.context, id, "json", "", ANYONE);
    this.cable().onArrived = (text) => this.#wasRead(text.length);
    this.cable().send(1, UPGRADED);
    sockets.add(this);
    core.sessions.add(this.session);
    this.session.socketOpened(this);
  }

  send(frame: Frame): number {
    if (!this.#isOpen) return 0;
    const text = String(frame);
    this.#conversation.sent(text);
    this.transmit(text);
    return text.length;
  }

  transmit(text: string): void {
    this.#unread += text.length;
    this.cable().send(1, text);
  }

  received(text: string): void {
    this.#conversation.received(text);
    this.session?.frameReceived(text);
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
    this.#node.core.sessions.delete(this.session);
    this.session.socketClosed();
    this.session = undefined;
  }
}
