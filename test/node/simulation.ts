// A virtual cluster: the relay's real core on a disk in memory, the nodes' real hubs and sessions,
// and clients of the protocol, stepped by one seeded random source. Links and sockets are queues,
// so that everything may come late, be cut, or meet a killed relay.

import { ANYONE } from "../../src/node/app/authentication.ts";
import type { Rules } from "../../src/node/app/rules.ts";
import { Channels } from "../../src/node/channels/channels.ts";
import { createCluster } from "../../src/node/channels/cluster-api.ts";
import type { Socket } from "../../src/node/session/client-writer.ts";
import { ClientSession, type SessionContext } from "../../src/node/session/session.ts";
import { producerFor } from "../../src/node/uplink/identity.ts";
import { type LinkPort, Uplink } from "../../src/node/uplink/uplink.ts";
import { Relay } from "../../src/relay/relay.ts";
import type { RelayLink } from "../../src/relay/relay-link.ts";
import type { LinkEvents } from "../../src/runtime/link-core.ts";
import { FRAME_BYTES_MAX, FrameDecoder, opcodeOf, PUBLICATION } from "../../src/wire/frame.ts";
import { linkProof } from "../../src/wire/proof.ts";
import {
  decodeRelayMessage,
  encodeRelayMessage,
  type RelayMessage,
} from "../../src/wire/relay-messages.ts";
import { isRecord } from "../../src/wire/shape.ts";
import { MemoryDisk, storeOn } from "../relay/memory-disk.ts";

const SECRET = "a secret that tests share";
export type Random = () => number;

/** mulberry32: from 0 up to 1, the same for the same seed. */
export function seeded(seed: number): Random {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A relay that can be killed: what it wrote stays, what it had yet to send does not. */
export class VirtualRelay {
  readonly #disk = new MemoryDisk();
  readonly #random: Random;
  readonly #now: () => number;
  links = new Set<VirtualLink>();
  core: Relay | undefined;
  #segments: ReturnType<typeof storeOn>["segments"] | undefined;

  constructor(random: Random, now: () => number) {
    this.#random = random;
    this.#now = now;
    this.start();
  }

  start(): void {
    const { store, segments } = storeOn(this.#disk, 4, { nowMs: this.#now() });
    const bytes = (count: number) =>
      Uint8Array.from({ length: count }, () => Math.floor(this.#random() * 256));
    const identity = {
      id: "relay-1",
      secret: SECRET,
      lineage: "lineage",
      pingMs: 1000,
      startedAtMs: this.#now(),
    };
    this.core = new Relay(identity, store, bytes);
    this.#segments = segments;
  }

  kill(): void {
    this.core = undefined;
    for (const link of [...this.links]) link.cut();
  }

  /** The turn of the relay's event loop is over: what waits for each link is on its way. */
  turn(): void {
    const { core } = this;
    if (core === undefined || this.#segments === undefined) return;
    core.endTurn();
    const dirty = new Set(core.takeDirty());
    for (const link of this.links) {
      if (link.far === undefined || !dirty.has(link.far)) continue;
      const { outbox } = link.far;
      while (outbox.bytes > 0) {
        const bytes = outbox.next(this.#segments);
        // A copy: the outbox uses its bytes again (and a Buffer's slice is no copy).
        link.toNode.push(new Uint8Array(bytes));
        outbox.taken(bytes.length);
      }
    }
  }
}

/** A node's link: it dials when it is let to, and delivers what is let through. */
export class VirtualLink implements LinkPort {
  readonly #relay: VirtualRelay;
  readonly #events: LinkEvents;
  readonly #now: () => number;
  readonly #name: string;
  far: RelayLink | undefined;
  toRelay: Uint8Array[] = [];
  toNode: Uint8Array[] = [];
  #decoder = new FrameDecoder(FRAME_BYTES_MAX);
  #phase: "idle" | "greeting" | "up" | "closed" = "idle";

  constructor(relay: VirtualRelay, name: string, events: LinkEvents, now: () => number) {
    this.#relay = relay;
    this.#name = name;
    this.#events = events;
    this.#now = now;
  }

  get isUp(): boolean {
    return this.#phase === "up";
  }

  /** What is on its way, in either direction. */
  get waiting(): number {
    return this.toRelay.length + this.toNode.length;
  }

  get isIdle(): boolean {
    return this.#phase === "idle";
  }

  send(frame: Uint8Array): void {
    // What is sent later may be patched then; the socket has its own copy.
    if (this.#phase === "up") this.toRelay.push(frame.slice());
  }

  sendMessage(message: RelayMessage): void {
    this.send(encodeRelayMessage(message));
  }

  close(): void {
    this.#end();
    this.#phase = "closed";
  }

  dial(): void {
    if (this.#phase !== "idle" || this.#relay.core === undefined) return;
    this.#phase = "greeting";
    this.#decoder = new FrameDecoder(FRAME_BYTES_MAX);
    this.far = this.#relay.core.connect();
    this.#relay.links.add(this);
    this.toRelay.push(
      encodeRelayMessage({ type: "hello", version: 1, role: "node", id: this.#name, nonce: NONCE }),
    );
  }

  cut(): void {
    const wasUp = this.#phase === "up";
    this.#end();
    if (wasUp) this.#events.lost("cut", true);
  }

  /** Lets some of what was sent arrive at the relay. */
  deliverToRelay(count: number): void {
    for (const frame of this.toRelay.splice(0, count))
      if (this.far !== undefined)
        this.#relay.core?.receive(this.far, frame, 0, frame.length, this.#now());
    this.#relay.turn();
  }

  /** Lets some of what the relay sent arrive here. */
  deliverToNode(count: number): void {
    for (const bytes of this.toNode.splice(0, count))
      this.#decoder.feed(bytes, (...frame) => this.#frame(...frame));
  }

  #frame(bytes: Uint8Array, start: number, end: number): boolean {
    if (this.#phase === "up" && opcodeOf(bytes, start) === PUBLICATION)
      this.#events.publication(bytes, start, end);
    else this.#message(decodeRelayMessage(bytes, start, end));
    return this.#phase === "up" || this.#phase === "greeting";
  }

  #message(message: RelayMessage): void {
    if (message.type === "challenge") {
      const proof = linkProof(SECRET, NONCE, message.nonce, "node", this.#name);
      this.toRelay.push(encodeRelayMessage({ type: "prove", proof }));
    } else if (message.type === "welcome") {
      this.#phase = "up";
      this.#events.welcome(message);
    } else if (message.type === "bye") {
      throw new Error(`the relay says bye: ${message.reason} ${message.message}`);
    } else {
      this.#events.message(message);
    }
  }

  #end(): void {
    if (this.far !== undefined) this.#relay.core?.disconnect(this.far);
    this.#relay.links.delete(this);
    this.far = undefined;
    this.toRelay = [];
    this.toNode = [];
    if (this.#phase !== "closed") this.#phase = "idle";
  }
}

const NONCE = new Uint8Array(16);

export class VirtualNode {
  readonly uplink: Uplink;
  readonly hub: Channels;
  readonly desk: SessionContext;
  readonly sockets = new Set<VirtualSocket>();
  link: VirtualLink | undefined;

  constructor(name: string, relay: VirtualRelay, rules: Rules, random: Random, now: () => number) {
    const dial = (events: LinkEvents) => {
      this.link = new VirtualLink(relay, name, events, now);
      return this.link;
    };
    this.uplink = new Uplink(
      "relay-1",
      dial,
      () => Math.floor(random() * 2 ** 32),
      () => {},
    );
    this.hub = new Channels(
      rules,
      () => this.uplink,
      (topic, frame) => {
        for (const socket of this.sockets) if (socket.topics.has(topic)) socket.send(frame);
      },
      now,
      () => {},
    );
    this.desk = {
      node: name,
      pingMs: 25_000,
      connectMs: 10_000,
      app: {},
      limits: rules.limits,
      hub: this.hub,
      cluster: createCluster(
        name,
        this.hub,
        (key) => producerFor(SECRET, "key", undefined, key),
        () => {},
      ),
      identify: (kind, user, text) => producerFor(SECRET, kind, user, text),
      resumeLater: (session) => session.resume(),
      failed: (what, error) => {
        throw new Error(`${what} failed`, { cause: error });
      },
    };
  }
}

/**
 * A client's end of a WebSocket, and the node's: a queue of frames that the client reads when it is
 * let to.
 */
export class VirtualSocket implements Socket {
  readonly node: VirtualNode;
  readonly session: ClientSession;
  readonly topics = new Set<string>();
  readonly unread: string[] = [];
  isOpen = true;
  #bytes = 0;

  constructor(node: VirtualNode, id: string) {
    this.node = node;
    node.sockets.add(this);
    this.session = new ClientSession(node.desk, id, "json", "", ANYONE);
    this.session.opened(this);
  }

  send(frame: string | Uint8Array): number {
    if (!this.isOpen) return 0;
    this.unread.push(String(frame));
    this.#bytes += frame.length;
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
    if (!this.isOpen) return;
    this.isOpen = false;
    this.node.sockets.delete(this);
    this.session.closed();
  }

  terminate(): void {
    this.close();
  }

  getBufferedAmount(): number {
    return this.#bytes;
  }

  /** The client reads its next frame. */
  read(): Record<string, unknown> | undefined {
    const frame = this.unread.shift();
    if (frame === undefined) return undefined;
    this.#bytes -= frame.length;
    const message: unknown = JSON.parse(frame);
    if (this.isOpen) this.session.drained();
    return isRecord(message) ? message : undefined;
  }

  write(message: Record<string, unknown>): void {
    if (this.isOpen) this.session.received(JSON.stringify(message));
  }
}
