// The cores of a relay and of nodes that a test steps by hand: bytes arrive when the test delivers
// them, turns end at once, and no timer runs.

import { ANYONE } from "../../src/node/app/authentication.ts";
import type { Rules } from "../../src/node/app/rules.ts";
import type { Channels } from "../../src/node/channels/channels.ts";
import { NodeCore } from "../../src/node/node-core.ts";
import type { Socket } from "../../src/node/session/client-writer.ts";
import { ClientSession } from "../../src/node/session/session.ts";
import { type Connection, Connections } from "../../src/relay/connections.ts";
import { Relay } from "../../src/relay/relay.ts";
import type { Clock } from "../../src/runtime/clock.ts";
import { LinkCore, type LinkEvents } from "../../src/runtime/link-core.ts";
import { NONCE_BYTES } from "../../src/wire/proof.ts";
import { isRecord } from "../../src/wire/shape.ts";
import { MemoryDisk, storeOn } from "../relay/memory-disk.ts";

const SECRET = "a secret that tests share";

const steppedClock = (nowMs: () => number): Clock => ({
  wallMs: nowMs,
  monotonicMs: nowMs,
  after: () => () => {},
  every: () => () => {},
  endOfTurn: (run) => run(),
});

/** A relay that can be killed: what it wrote stays, what it had yet to send does not. */
export class SteppedRelay {
  readonly links = new Set<SteppedLink>();
  readonly #disk = new MemoryDisk();
  readonly #nowMs: () => number;
  connections: Connections | undefined;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
    this.start();
  }

  start(): void {
    const nowMs = this.#nowMs();
    const { store, segments } = storeOn(this.#disk, 4, { nowMs });
    const identity = {
      ...{ id: "relay-1", secret: SECRET, lineage: "lineage" },
      ...{ pingMs: 1000, startedAtMs: nowMs },
    };
    const relay = new Relay(identity, store, (count) => new Uint8Array(count));
    this.connections = new Connections(relay, segments, steppedClock(this.#nowMs), {
      refused: (_link, reason, message) => {
        throw new Error(`the relay refuses what a node says: ${reason}: ${message}`);
      },
      malformed: (_link, message) => {
        throw new Error(`the relay refuses what a node says: ${message}`);
      },
      cut: () => {},
    });
  }

  kill(): void {
    this.connections = undefined;
    for (const link of [...this.links]) link.cut();
  }
}

/** A node's link: what is sent waits until it is delivered. */
export class SteppedLink {
  readonly core: LinkCore;
  readonly toRelay: Uint8Array[] = [];
  readonly toNode: Uint8Array[] = [];
  readonly #relay: SteppedRelay;
  #attempt = 0;
  #connection: Connection | undefined;

  constructor(relay: SteppedRelay, id: string, events: LinkEvents, nowMs: () => number) {
    this.#relay = relay;
    this.core = new LinkCore({ secret: SECRET, role: "node", id }, events, {
      clock: steppedClock(nowMs),
      random: () => 0,
      createNonce: () => new Uint8Array(NONCE_BYTES),
      dial: (link, attempt) => {
        this.#attempt = attempt;
        queueMicrotask(() => this.#connect(link, attempt));
      },
    });
  }

  cut(): void {
    this.core.disconnected(this.#attempt, "cut");
  }

  /** Lets some of what was sent arrive at the relay. */
  deliverToRelay(count: number): void {
    for (const bytes of this.toRelay.splice(0, count))
      if (this.#connection !== undefined)
        this.#relay.connections?.received(this.#connection, bytes);
  }

  /** Lets some of what the relay sent arrive here. */
  deliverToNode(count: number): void {
    for (const bytes of this.toNode.splice(0, count)) this.core.received(this.#attempt, bytes);
  }

  #connect(link: LinkCore, attempt: number): void {
    const { connections, links } = this.#relay;
    if (connections === undefined) return link.disconnected(attempt, "unreachable");
    links.add(this);
    const connection = connections.create({
      // Copies: what is sent again is patched then, and an outbox uses its bytes again.
      write: (bytes) => this.toNode.push(new Uint8Array(bytes)) && bytes.length,
      shutdown: () => {},
      terminate: () => {},
    });
    connections.opened(connection);
    this.#connection = connection;
    const end = () => {
      links.delete(this);
      this.toRelay.length = 0;
      this.toNode.length = 0;
      connections.closed(connection);
    };
    link.opened(attempt, {
      write: (bytes) => this.toRelay.push(new Uint8Array(bytes)) && bytes.length,
      end,
      terminate: end,
    });
  }
}

export class SteppedNode {
  readonly core: NodeCore;
  readonly sockets = new Set<SteppedSocket>();
  link: SteppedLink | undefined;

  constructor(name: string, relay: SteppedRelay, rules: Rules, nowMs: () => number) {
    let ids = 0;
    this.core = new NodeCore(
      {
        ...{ id: name, relays: ["relay-1"], secret: SECRET, app: {}, rules },
        ...{ pingMs: 25_000, connectMs: 10_000 },
      },
      {
        clock: steppedClock(nowMs),
        random: () => 0,
        random32: () => Bun.hash.crc32(name) + ++ids,
        createId: () => `${name}.${++ids}`,
        link: (_, events) => {
          this.link = new SteppedLink(relay, name, events, nowMs);
          return this.link.core;
        },
        publish: (topic, frame) => {
          for (const socket of this.sockets) if (socket.topics.has(topic)) socket.send(frame);
        },
        address: () => `unix:/${name}`,
        events: {
          stateChanged: () => {},
          linkChanged: () => {},
          notPublished: () => {},
          hookTimedOut: () => {},
          clientClosed: () => {},
          refused: () => {},
          failed: (what, error) => {
            throw new Error(`${what} failed`, { cause: error });
          },
        },
      },
    );
  }

  get hub(): Channels {
    return this.core.context.channels;
  }

  /** Gives the link up and dials another. */
  redial(): void {
    for (const uplink of this.core.uplinks) uplink.redial("cut");
  }
}

/** A client's WebSocket, and the node's end of it: frames wait until the client reads them. */
export class SteppedSocket implements Socket {
  readonly topics = new Set<string>();
  readonly #node: SteppedNode;
  readonly #session: ClientSession;
  readonly #unread: string[] = [];
  #unreadBytes = 0;
  #isOpen = true;

  constructor(node: SteppedNode, id: string) {
    this.#node = node;
    node.sockets.add(this);
    this.#session = new ClientSession(node.core.context, id, "json", "", ANYONE);
    node.core.sessions.add(this.#session);
    this.#session.socketOpened(this);
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** The client reads its next frame. */
  read(): Record<string, unknown> | undefined {
    const frame = this.#unread.shift();
    if (frame === undefined) return undefined;
    this.#unreadBytes -= frame.length;
    const message: unknown = JSON.parse(frame);
    if (this.#isOpen) this.#session.socketDrained();
    return isRecord(message) ? message : undefined;
  }

  /** The client says something. */
  write(message: Record<string, unknown>): void {
    if (this.#isOpen) this.#session.frameReceived(JSON.stringify(message));
  }

  send(frame: string | Uint8Array): number {
    if (!this.#isOpen) return 0;
    this.#unread.push(String(frame));
    this.#unreadBytes += frame.length;
    return frame.length;
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

  ping(): void {}

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#node.sockets.delete(this);
    this.#node.core.sessions.delete(this.#session);
    this.#session.socketClosed();
  }

  terminate(): void {
    this.close();
  }

  getBufferedAmount(): number {
    return this.#unreadBytes;
  }
}
