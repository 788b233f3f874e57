// The client's state machine against a model of the cluster, on a virtual clock, through everything
// that can happen to a connection. A failing seed prints itself and runs again alike: SEED=n bun
// test test/client/simulation.test.ts

import { describe, expect, test } from "bun:test";
import { Core } from "../../src/client/core.ts";
import type { Effect, Step } from "../../src/client/steps.ts";
import type { Position } from "../../src/wire/position.ts";
import { Clock, type Connection, ModelCluster, seeded } from "./model-cluster.ts";

const CHANNELS = ["a", "b", "c"];
const FAULTS_UNTIL_MS = 30_000;
const CALM_MS = 60_000;

type Read =
  | { type: "message"; epoch: string; offset: number; data: unknown }
  | { type: "stands"; position: Position };

/** A client whose WebSocket, timer and clock are the simulation's. */
class SimulatedClient {
  readonly acknowledged = new Map<number, Position>();
  readonly failed: string[] = [];
  readonly reads = new Map<string, Read[]>();
  readonly published = new Map<number, { channel: string; data: string }>();
  readonly #name: string;
  readonly #cluster: ModelCluster;
  readonly #core: Core;
  #connection: Connection | undefined;
  #dial = 0;
  #wakes = 0;
  #ticket = 0;

  constructor(name: string, cluster: ModelCluster) {
    this.#name = name;
    this.#cluster = cluster;
    this.#core = new Core(`producer-${name}`, cluster.random);
    this.step({ type: "start" });
  }

  step(step: Step): void {
    for (const effect of this.#core.step(step, this.#cluster.clock.now)) this.#apply(effect);
  }

  publish(channel: string): void {
    const ticket = ++this.#ticket;
    const data = `${this.#name}-${ticket}`;
    this.published.set(ticket, { channel, data });
    this.step({ type: "publish", ticket, channel, json: JSON.stringify(data), key: undefined });
  }

  subscribe(channel: string): void {
    this.reads.set(channel, []);
    this.step({ type: "subscribe", ticket: ++this.#ticket, channel, start: undefined });
  }

  #apply(effect: Effect): void {
    if (effect.type === "open") this.#open();
    else if (effect.type === "send") this.#connection?.send(effect.text);
    else if (effect.type === "close") {
      this.#dial++;
      this.#connection?.drop();
    } else if (effect.type === "wake") this.#wakeAt(effect.at);
    else if (effect.type === "published") {
      if (effect.position) this.acknowledged.set(effect.ticket, effect.position);
    } else if (effect.type === "failed") this.failed.push(effect.fault.code);
    else if (effect.type === "tell_channel") this.#read(effect);
  }

  #open(): void {
    const dial = ++this.#dial;
    const hear = (step: Step) => {
      if (dial === this.#dial) this.step(step);
    };
    this.#connection = this.#cluster.dial({
      opened: () => hear({ type: "opened", token: undefined }),
      text: (text) => hear({ type: "text", text }),
      closed: (code, reason) => hear({ type: "closed", code, reason }),
    });
  }

  #wakeAt(at: number): void {
    const wake = ++this.#wakes;
    this.#cluster.clock.at(at, () => {
      if (wake === this.#wakes) this.step({ type: "wake" });
    });
  }

  #read({ channel, event }: Extract<Effect, { type: "tell_channel" }>): void {
    const reads = this.reads.get(channel);
    if (event.type === "message") {
      const { epoch, offset, data } = event;
      reads?.push({ type: "message", epoch, offset, data });
    } else if (event.type === "gap") reads?.push({ type: "stands", position: event.position });
    else if (event.type === "subscribed" && reads?.length === 0)
      reads.push({ type: "stands", position: event.subscribed.position });
  }
}

function mischief(cluster: ModelCluster, clients: readonly SimulatedClient[]): void {
  const { random, clock } = cluster;
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)];
  const chance = random();
  if (chance < 0.6) {
    const client = pick(clients);
    const count = random() < 0.02 ? 300 : Math.floor(random() * 4);
    for (let i = 0; i < count; i++) client.publish(pick(CHANNELS));
  } else if (chance < 0.66) cluster.kill();
  else if (chance < 0.7) cluster.outage(random() * 1500);
  else if (chance < 0.73) cluster.goodbye();
  else if (chance < 0.75) cluster.deafen();
  else if (chance < 0.76) cluster.forget(pick(CHANNELS));
  else if (chance < 0.78) pick(clients).step({ type: "online" });
  else if (chance < 0.85) {
    const client = pick(clients);
    const channel = pick(CHANNELS);
    client.step({ type: "pause", channel });
    clock.after(random() * 3000, () => client.step({ type: "resume", channel }));
  }
  if (clock.now < FAULTS_UNTIL_MS) clock.after(random() * 100, () => mischief(cluster, clients));
}

/**
 * Every publication above the reader's place is read, in order, once, or told as a gap; and the
 * reader gets to the end.
 */
function checkReads(cluster: ModelCluster, channel: string, reads: readonly Read[]): void {
  let at: Position | undefined;
  for (const read of reads) {
    if (read.type === "stands") {
      at = read.position;
      continue;
    }
    if (at === undefined || at.epoch !== read.epoch)
      throw new Error(`${channel}: a message in an epoch not told of`);
    const next = nextAfter(cluster, channel, at);
    if (next?.offset !== read.offset || next.data !== read.data)
      throw new Error(
        `${channel}: after ${at.epoch}:${at.offset} came ${read.offset}, not ${next?.offset}`,
      );
    at = { epoch: read.epoch, offset: read.offset };
  }
  const log = cluster.log(channel);
  if (at?.epoch !== log.epoch || nextAfter(cluster, channel, at) !== undefined)
    throw new Error(
      `${channel}: reading stopped at ${at?.epoch}:${at?.offset} of ${log.epoch}:${log.top}`,
    );
}

function nextAfter(cluster: ModelCluster, channel: string, { epoch, offset }: Position) {
  const log = cluster.lineages(channel).find((lineage) => lineage.epoch === epoch);
  return log?.publications.find((publication) => publication.offset > offset);
}

/**
 * Every publication is acknowledged, stands where the acknowledgement said, once, and in its
 * publisher's order.
 */
function checkPublications(cluster: ModelCluster, client: SimulatedClient): void {
  expect(client.failed).toEqual([]);
  expect(client.acknowledged.size).toBe(client.published.size);
  const places = new Map<unknown, [lineage: number, position: Position][]>();
  for (const lineages of cluster.logs.values())
    for (const [index, { epoch, publications }] of lineages.entries())
      for (const { data, offset } of publications)
        places.set(data, [...(places.get(data) ?? []), [index, { epoch, offset }]]);
  const last = new Map<string, [lineage: number, offset: number]>();
  for (const [ticket, { channel, data }] of client.published) {
    const found = places.get(data) ?? [];
    const said = client.acknowledged.get(ticket);
    if (found.length !== 1) throw new Error(`${data} stands ${found.length} times in ${channel}`);
    const [[lineage, { epoch, offset }]] = found;
    if (said?.epoch !== epoch || said.offset !== offset)
      throw new Error(`${data} is not where it was said to be`);
    const [lastLineage, lastOffset] = last.get(channel) ?? [0, 0];
    if (lineage < lastLineage || (lineage === lastLineage && offset <= lastOffset))
      throw new Error(`${data} has been overtaken in ${channel}`);
    last.set(channel, [lineage, offset]);
  }
}

function simulate(seed: number): { messages: number } {
  const random = seeded(seed);
  const clock = new Clock();
  const cluster = new ModelCluster(clock, random, 3);
  const clients = ["x", "y", "z"].map((name) => new SimulatedClient(name, cluster));
  for (const client of clients) for (const channel of CHANNELS) client.subscribe(channel);
  mischief(cluster, clients);
  clock.runUntil(FAULTS_UNTIL_MS + CALM_MS);
  let messages = 0;
  for (const client of clients) {
    checkPublications(cluster, client);
    for (const [channel, reads] of client.reads) {
      checkReads(cluster, channel, reads);
      messages += reads.length;
    }
  }
  return { messages };
}

describe("simulation", () => {
  const seeds = process.env.SEED
    ? [Number(process.env.SEED)]
    : Array.from({ length: 50 }, (_, index) => index + 1);
  test.each(seeds)(
    "seed %d: everything acknowledged is delivered once, in order, or told as a gap",
    (seed) => {
      expect(simulate(seed).messages).toBeGreaterThan(100);
    },
  );
});
