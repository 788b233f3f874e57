// A tiny cluster that obeys the client protocol on a virtual clock: one relay, some nodes, and
// connections that are slow, cut or deaf. It is the other side for the client's state machine in a
// simulation; nothing here is used by the product.

import {
  type ClientMessage,
  clientMessage,
  type NodeMessage,
  UNACKNOWLEDGED_MAX,
} from "../../src/wire/client-messages.ts";
import { type Position, resume } from "../../src/wire/position.ts";

/** Numbers from 0 up to 1 that a seed decides (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}

/** Runs what is planned in the order of its time. */
export class Clock {
  now = 0;
  #planned: { at: number; order: number; run: () => void }[] = [];
  #order = 0;

  at(time: number, run: () => void): void {
    const entry = { at: Math.max(time, this.now), order: this.#order++, run };
    let place = this.#planned.length;
    while (place > 0 && this.#planned[place - 1].at > entry.at) place--;
    this.#planned.splice(place, 0, entry);
  }

  after(delayMs: number, run: () => void): void {
    this.at(this.now + delayMs, run);
  }

  runUntil(end: number): void {
    for (
      let next = this.#planned[0];
      next !== undefined && next.at <= end;
      next = this.#planned[0]
    ) {
      this.#planned.shift();
      this.now = next.at;
      next.run();
    }
    this.now = end;
  }
}

export type Publication = {
  offset: number;
  time: number;
  data: unknown;
  producer: string;
  seq: number;
};
/**
 * What has been published in a channel: one list for each lineage, of which the last is being
 * written.
 */
export type Log = { epoch: string; publications: Publication[]; top: number };

/** The end of a connection that the client holds. */
export type ClientEnd = {
  opened(): void;
  text(text: string): void;
  closed(code: number, reason: string): void;
};

const HISTORY = 40;

export class ModelCluster {
  readonly clock: Clock;
  readonly random: () => number;
  readonly logs = new Map<string, Log[]>();
  readonly #nodes: ModelNode[];
  readonly #outcomes = new Map<string, Position>();

  constructor(clock: Clock, random: () => number, nodes: number) {
    this.clock = clock;
    this.random = random;
    this.#nodes = Array.from(
      { length: nodes },
      (_, index) => new ModelNode(`node-${index + 1}`, this),
    );
  }

  /** A new connection to some node; it opens, or fails, a little later. */
  dial(end: ClientEnd): Connection {
    const node = this.#nodes[Math.floor(this.random() * this.#nodes.length)];
    const connection = new Connection(this, node, end);
    this.clock.after(this.delay(), () => {
      if (node.isUp) connection.open();
      else connection.cut(1006);
    });
    return connection;
  }

  delay(): number {
    return this.random() < 0.1 ? this.random() * 200 : 1 + this.random() * 10;
  }

  /** Kills a node, which comes back after a while. */
  kill(): void {
    const node = this.#nodes[Math.floor(this.random() * this.#nodes.length)];
    node.kill();
    this.clock.after(100 + this.random() * 2000, () => node.start());
  }

  /** Nodes refuse to publish for a while. */
  outage(durationMs: number): void {
    for (const node of this.#nodes) node.busyUntil = this.clock.now + durationMs;
  }

  goodbye(): void {
    this.#nodes[Math.floor(this.random() * this.#nodes.length)].goodbye();
  }

  /** Some connection goes deaf: nothing passes any more, and nobody is told. */
  deafen(): void {
    const node = this.#nodes[Math.floor(this.random() * this.#nodes.length)];
    for (const connection of node.connections) if (this.random() < 0.3) connection.isDeaf = true;
  }

  /** The relay loses its memory of a channel. */
  forget(channel: string): void {
    const lineages = this.lineages(channel);
    lineages.push({
      epoch: `e${lineages.length}`,
      publications: [],
      top: Math.floor(this.random() * 5),
    });
    for (const node of this.#nodes) this.clock.after(this.delay(), () => node.behold(channel));
  }

  lineages(channel: string): Log[] {
    let lineages = this.logs.get(channel);
    if (lineages === undefined) {
      lineages = [{ epoch: "e0", publications: [], top: 0 }];
      this.logs.set(channel, lineages);
    }
    return lineages;
  }

  log(channel: string): Log {
    const lineages = this.lineages(channel);
    return lineages[lineages.length - 1];
  }

  /**
   * Puts a publication into its channel's order, or says where it is already. Old seqs are
   * forgotten, as PROTOCOL.md allows.
   */
  append(channel: string, producer: string, seq: number, data: unknown): Position {
    const identity = `${channel} ${producer} ${seq}`;
    this.#outcomes.delete(`${channel} ${producer} ${seq - UNACKNOWLEDGED_MAX}`);
    const known = this.#outcomes.get(identity);
    if (known !== undefined) return known;
    const log = this.log(channel);
    log.top += this.random() < 0.1 ? 3 : 1;
    log.publications.push({
      offset: log.top,
      time: Math.floor(this.clock.now),
      data,
      producer,
      seq,
    });
    const position = { epoch: log.epoch, offset: log.top };
    this.#outcomes.set(identity, position);
    for (const node of this.#nodes) this.clock.after(this.delay(), () => node.behold(channel));
    return position;
  }
}

class ModelNode {
  readonly id: string;
  readonly #cluster: ModelCluster;
  readonly connections = new Set<Connection>();
  isUp = true;
  busyUntil = 0;

  constructor(id: string, cluster: ModelCluster) {
    this.id = id;
    this.#cluster = cluster;
  }

  kill(): void {
    this.isUp = false;
    for (const connection of this.connections) connection.cut(1006);
    this.connections.clear();
  }

  start(): void {
    this.isUp = true;
  }

  goodbye(): void {
    for (const connection of this.connections) {
      const reconnectAfterMs = Math.floor(this.#cluster.random() * 500);
      connection.say({ type: "goodbye", reason: "restart", reconnectAfterMs });
      this.#cluster.clock.after(this.#cluster.random() * 1000, () => connection.cut(1012));
    }
  }

  /** Passes on what the relay has for a channel, to every session as far as it has not had it. */
  behold(channel: string): void {
    for (const connection of this.connections) connection.advance(channel);
  }
}

export class Connection {
  readonly #cluster: ModelCluster;
  readonly #node: ModelNode;
  readonly #end: ClientEnd;
  readonly #cursors = new Map<string, Position>();
  /** Channels in which something was refused for now, by the seq that has to come again first. */
  readonly #refusedSeqs = new Map<string, number>();
  #producer = "";
  #isOpen = true;
  #arrivalUp = 0;
  #arrivalDown = 0;
  isDeaf = false;

  constructor(cluster: ModelCluster, node: ModelNode, end: ClientEnd) {
    this.#cluster = cluster;
    this.#node = node;
    this.#end = end;
  }

  open(): void {
    if (!this.#isOpen) return;
    this.#node.connections.add(this);
    this.#down(() => this.#end.opened());
    const limits = {
      frameBytes: 1_000_000,
      dataBytes: 1_000_000,
      subscriptions: 100,
      unacknowledged: 256,
    };
    this.say({ type: "welcome", session: "s", node: this.#node.id, pingMs: 1000, limits });
  }

  /** The client says something; it arrives in order, later, unless the connection is lost first. */
  send(text: string): void {
    this.#arrivalUp = Math.max(this.#arrivalUp, this.#cluster.clock.now + this.#cluster.delay());
    this.#cluster.clock.at(this.#arrivalUp, () => {
      if (this.#isOpen && !this.isDeaf) this.#hear(clientMessage(JSON.parse(text)));
    });
  }

  say(message: NodeMessage): void {
    const text = JSON.stringify(message);
    this.#down(() => this.#end.text(text));
  }

  /** Ends the connection; what has not arrived is lost. */
  cut(code: number): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#node.connections.delete(this);
    if (this.isDeaf) return;
    const end = this.#end;
    this.#cluster.clock.after(this.#cluster.delay(), () => end.closed(code, ""));
  }

  /** The client has let go of it; the node learns that later, and talks on until then. */
  drop(): void {
    this.isDeaf = true;
    this.#cluster.clock.after(this.#cluster.random() * 3000, () => this.cut(1000));
  }

  advance(channel: string): void {
    const cursor = this.#cursors.get(channel);
    const log = this.#cluster.log(channel);
    if (cursor === undefined) return;
    if (cursor.epoch !== log.epoch) {
      const position = { epoch: log.epoch, offset: log.top };
      this.#cursors.set(channel, position);
      return this.say({
        type: "gap",
        channel,
        reason: "epoch",
        from: cursor.offset + 1,
        to: log.top,
        position,
      });
    }
    for (const { offset, time, data } of log.publications)
      if (offset > cursor.offset || this.#cluster.random() < 0.001)
        this.say({ type: "message", channel, offset, time, data: data ?? null });
    this.#cursors.set(channel, { epoch: log.epoch, offset: log.top });
  }

  #down(run: () => void): void {
    this.#arrivalDown = Math.max(
      this.#arrivalDown,
      this.#cluster.clock.now + this.#cluster.delay(),
    );
    this.#cluster.clock.at(this.#arrivalDown, () => {
      if (this.#isOpen && !this.isDeaf) run();
    });
  }

  #hear(message: ClientMessage): void {
    const { id } = message;
    if (message.type === "connect") {
      this.#producer = message.producer ?? "";
      this.say({ type: "ok", id });
    } else if (message.type === "ping") this.say({ type: "pong", id });
    else if (message.type === "subscribe") this.#subscribe(message);
    else if (message.type === "unsubscribe") this.#cursors.delete(message.channel);
    else if (message.type === "publish") this.#publish(message);
    else if (message.type === "call") this.say({ type: "ok", id, data: message.params ?? null });
  }

  #subscribe({ id, channel, since }: Extract<ClientMessage, { type: "subscribe" }>): void {
    const { epoch, top, publications } = this.#cluster.log(channel);
    const first =
      publications.length > HISTORY ? publications[publications.length - HISTORY].offset : 1;
    const readable = { epoch, first: Math.min(first, top + 1), top, trimmed: "evicted" } as const;
    const { after, gap } =
      since === undefined ? { after: top, gap: null } : resume(since, readable);
    const position = { epoch, offset: after };
    this.#cursors.set(channel, position);
    this.say({ type: "ok", id, channel, position, recovered: gap === null, gap: gap ?? undefined });
    this.advance(channel);
  }

  #publish({ id, channel, data, seq = 0 }: Extract<ClientMessage, { type: "publish" }>): void {
    const refused = this.#refusedSeqs.get(channel);
    const isOvertaking = refused !== undefined && seq > refused;
    if (this.#cluster.clock.now < this.#node.busyUntil || isOvertaking) {
      if (!isOvertaking) this.#refusedSeqs.set(channel, seq);
      return this.say({ type: "error", id, code: "busy", message: "later", retry: true });
    }
    this.#refusedSeqs.delete(channel);
    const position = this.#cluster.append(channel, this.#producer, seq, data);
    // The acknowledgement takes its time through the relay; a node that dies first leaves the
    // client in doubt.
    this.#cluster.clock.after(this.#cluster.delay(), () =>
      this.say({ type: "ok", id, channel, position }),
    );
  }
}
