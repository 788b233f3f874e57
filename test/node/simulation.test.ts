// Random work and random faults against the promise: nothing acknowledged is lost, repeated or
// reordered, and what cannot be had is told. A seed that fails is printed, and runs again alike.

import { expect, setDefaultTimeout, test } from "bun:test";
import { Rules } from "../../src/node/app/rules.ts";
import { type Random, seeded, VirtualNode, VirtualRelay, VirtualSocket } from "./simulation.ts";

const STEPS = 400;
const CHANNELS = ["a", "b"];
/** Long enough for a few of them to fill a slow client's budget. */
const PADDING = "x".repeat(9000);

type Seen = { epoch: string; offset: number; value: string };

/**
 * What one client holds of one channel: where it stands, what it saw, and which offsets it was told
 * are lost.
 */
class Reading {
  epoch = "";
  position = -1;
  from = -1;
  asked = 0;
  isLive = false;
  readonly seen: Seen[] = [];
  readonly lost = new Set<number>();
}

/**
 * A client that publishes with seqs and resends what is not acknowledged, and reads by position, as
 * the SDK does.
 */
class Client {
  readonly name: string;
  readonly readings = new Map<string, Reading>();
  readonly unacknowledged: { seq: number; channel: string; value: string }[] = [];
  readonly acknowledged: (Seen & { channel: string })[] = [];
  socket: VirtualSocket | undefined;
  #seq = 0;
  #asks = 0;
  #connections = 0;

  constructor(name: string) {
    this.name = name;
  }

  connect(node: VirtualNode): void {
    this.socket?.close();
    this.socket = new VirtualSocket(node, `${this.name}-${++this.#connections}`);
    this.socket.write({ type: "connect", producer: `producer ${this.name}` });
    for (const [channel, reading] of this.readings) this.#ask(channel, reading);
    for (const entry of this.unacknowledged) this.#send(entry);
  }

  publish(channel: string): void {
    if (this.unacknowledged.length > 50) return;
    const seq = ++this.#seq;
    const entry = { seq, channel, value: `${this.name}/${seq}/${PADDING}` };
    this.unacknowledged.push(entry);
    this.#send(entry);
  }

  subscribe(channel: string): void {
    const reading = this.readings.get(channel) ?? new Reading();
    this.readings.set(channel, reading);
    this.#ask(channel, reading);
  }

  /** Goes without the channel for a while; the position is kept. */
  unsubscribe(channel: string): void {
    const reading = this.readings.get(channel);
    if (reading === undefined) return;
    reading.isLive = false;
    reading.asked = 0;
    this.socket?.write({ type: "unsubscribe", channel });
  }

  readOne(): boolean {
    const message = this.socket?.read();
    if (message !== undefined) this.#hear(message);
    return message !== undefined;
  }

  #ask(channel: string, reading: Reading): void {
    reading.isLive = false;
    reading.asked = ++this.#asks;
    const since = { epoch: reading.epoch, offset: reading.position };
    // At first so many publications back, every other time at what comes next.
    const from =
      reading.position >= 0 ? { since } : { last: (reading.asked % 2) * (reading.asked % 9) };
    this.socket?.write({ type: "subscribe", id: `s${reading.asked}`, channel, ...from });
  }

  #send({ seq, channel, value }: { seq: number; channel: string; value: string }): void {
    this.socket?.write({ type: "publish", id: `p${seq}`, channel, seq, data: value });
  }

  #hear(message: Record<string, unknown>): void {
    const id = String(message.id);
    if (message.type === "message") this.#message(message);
    else if (message.type === "gap") this.#gap(message);
    else if (message.type === "ok" && id.startsWith("p"))
      this.#acknowledge(Number(id.slice(1)), message);
    else if (message.type === "ok" && id.startsWith("s")) this.#subscribed(id, message);
    else if (message.type === "error" && message.code !== "not_subscribed")
      this.#fault(id, message);
  }

  /** Busy: everything unacknowledged of it comes again, in order; so do the subscribes. */
  #fault(id: string, message: Record<string, unknown>): void {
    if (message.code !== "busy")
      throw new Error(`${this.name} was told ${JSON.stringify(message)}`);
    // The last words of a node that was killed: whoever runs the test connects to another.
    if (this.socket?.isOpen !== true) return;
    if (id.startsWith("p") || id.startsWith("s")) this.connect(this.socket.node);
  }

  #acknowledge(seq: number, { position }: Record<string, unknown>): void {
    const index = this.unacknowledged.findIndex((entry) => entry.seq === seq);
    if (index < 0) return;
    const [{ channel, value }] = this.unacknowledged.splice(index, 1);
    const { epoch, offset } = Object(position);
    if (offset !== undefined) this.acknowledged.push({ channel, epoch, offset, value });
  }

  #subscribed(id: string, { channel, position, recovered, gap }: Record<string, unknown>): void {
    const reading = this.readings.get(String(channel));
    if (reading === undefined || id !== `s${reading.asked}`) return;
    const { epoch, offset } = Object(position);
    if (
      reading.position >= 0 &&
      recovered === true &&
      (epoch !== reading.epoch || offset !== reading.position)
    )
      throw new Error(
        `${this.name} asked from ${reading.position} and was put at ${offset} without a gap`,
      );
    if (recovered !== true) note(reading, gap, offset);
    if (reading.from < 0) reading.from = offset;
    reading.epoch = epoch;
    reading.position = offset;
    reading.isLive = true;
  }

  #gap(message: Record<string, unknown>): void {
    const reading = this.readings.get(String(message.channel));
    if (reading === undefined || !reading.isLive) return;
    const { epoch, offset } = Object(message.position);
    note(reading, message, offset);
    reading.epoch = epoch;
    reading.position = offset;
  }

  #message({ channel, offset, data }: Record<string, unknown>): void {
    const reading = this.readings.get(String(channel));
    if (reading === undefined || !reading.isLive) return;
    const at = Number(offset);
    // What comes behind the ok has to be news: nothing twice, nothing out of order, nothing
    // skipped.
    if (at !== reading.position + 1)
      throw new Error(
        `${this.name} stood at ${reading.position} of ${channel} and was given ${at}`,
      );
    reading.position = at;
    reading.seen.push({ epoch: reading.epoch, offset: at, value: String(data) });
  }
}

function note(reading: Reading, gap: unknown, offset: number): void {
  const { from, to } = Object(gap);
  if (from !== reading.position + 1 || to !== offset)
    throw new Error(
      `a reader at ${reading.position} was told of a gap from ${from} to ${to}, and put at ${offset}`,
    );
  for (let lost = from; lost <= to; lost++) reading.lost.add(lost);
}

async function run(seed: number, historySize: number): Promise<{ seen: number; lost: number }> {
  const random = seeded(seed);
  const upTo = (count: number) => Math.floor(random() * count);
  let nowMs = 1_000_000;
  const now = () => nowMs;
  const relay = new VirtualRelay(random, now);
  const rules = new Rules({
    channels: { "{name}": { history: { size: historySize } } },
    limits: { requestsPerSecond: 1_000_000, bufferedBytes: 64 * 1024 },
  });
  const createNode = (n: number) => new VirtualNode(`node-${n}`, relay, rules, random, now);
  const nodes = [0, 1].map(createNode);
  const clients = [0, 1, 2, 3].map((n) => new Client(`c${n}`));
  const pick = <T>(list: readonly T[], by: Random = random): T =>
    list[Math.floor(by() * list.length)];

  // By node: until when nothing reaches the relay, and nothing comes from it. Such a node knows
  // less than the other has told.
  const stalledUntilMs = nodes.map(() => [0, 0]);
  const flow = async () => {
    for (const [n, { link }] of nodes.entries()) {
      if (link === undefined) continue;
      if (link.isIdle && upTo(3) === 0) link.dial();
      if (stalledUntilMs[n][0] <= nowMs) link.deliverToRelay(upTo(4));
      if (stalledUntilMs[n][1] <= nowMs) link.deliverToNode(upTo(4));
    }
    // Replies are gathered until the end of the turn.
    await null;
    for (const { hub } of nodes) hub.flush();
    for (const client of clients) for (let n = upTo(6); n > 0; n--) client.readOne();
    // Often no time passes, or too little for what waits to go out with more.
    nowMs += upTo(2) * upTo(2) * upTo(60);
  };
  const sweep = () => {
    for (const { hub, uplink, sockets } of nodes) {
      hub.sweep();
      uplink.tick(nowMs);
      for (const { session } of sockets) session.checkDeadlines(nowMs);
    }
  };
  const killNode = (n: number) => {
    const { link, sockets } = nodes[n];
    link?.close();
    nodes[n] = createNode(n);
    for (const socket of [...sockets]) socket.close();
  };
  /**
   * Long enough for publications to be given up, and for channels that nobody uses to be closed.
   */
  const sleep = () => {
    nowMs += 31_000;
    sweep();
  };
  const step = async () => {
    const client = pick(clients);
    const dice = upTo(100);
    if (dice < 40) client.publish(pick(CHANNELS));
    else if (dice < 52) client.subscribe(pick(CHANNELS));
    else if (dice < 56) client.unsubscribe(pick(CHANNELS));
    else if (dice < 62) client.connect(pick(nodes));
    else if (dice < 65) pick(nodes).link?.cut();
    else if (dice < 66) killNode(upTo(2));
    else if (dice < 68 && relay.core !== undefined) relay.kill();
    else if (dice < 71 && relay.core === undefined) relay.start();
    else if (dice < 75) sweep();
    else if (dice < 78) stalledUntilMs[upTo(2)][upTo(2)] = nowMs + upTo(600);
    else if (dice < 79) sleep();
    if (client.socket?.isOpen === false) client.connect(pick(nodes));
    await flow();
  };
  const isQuiet = () =>
    nodes.every(
      ({ link, uplink }) => link?.isUp === true && uplink.unacknowledged + link.waiting === 0,
    ) &&
    nodes.every(({ hub }) => !hub.flush()) &&
    clients.every(
      ({ socket, unacknowledged }) => unacknowledged.length + (socket?.unread.length ?? 0) === 0,
    ) &&
    clients.every(({ readings }) => [...readings.values()].every(({ isLive }) => isLive));
  for (const client of clients) client.connect(pick(nodes));
  for (let n = 0; n < STEPS; n++) await step();

  // The faults are over: everything has to converge.
  if (relay.core === undefined) relay.start();
  for (const client of clients) {
    if (client.socket?.isOpen !== true) client.connect(pick(nodes));
    for (const channel of CHANNELS) client.subscribe(channel);
  }
  for (let n = 0; n < 3000 && !isQuiet(); n++) {
    for (let m = 0; m < 30; m++) await flow();
    sweep();
    for (const client of clients) if (client.socket?.isOpen === false) client.connect(pick(nodes));
  }
  return check(clients);
}

function check(clients: readonly Client[]): { seen: number; lost: number } {
  let seen = 0;
  let lost = 0;
  for (const client of clients)
    if (client.unacknowledged.length > 0) throw new Error(`${client.name} has no answer`);
  for (const channel of CHANNELS) {
    const values = new Map<number, string>();
    const acknowledged = clients.flatMap((each) =>
      each.acknowledged.filter((entry) => entry.channel === channel),
    );
    const readings = clients.map((client) => ({
      client,
      reading: client.readings.get(channel) ?? new Reading(),
    }));
    for (const { offset, value } of [
      ...acknowledged,
      ...readings.flatMap(({ reading }) => reading.seen),
    ]) {
      if ((values.get(offset) ?? value) !== value)
        throw new Error(`offset ${offset} of ${channel} has two values`);
      values.set(offset, value);
    }
    if (new Set(values.values()).size !== values.size)
      throw new Error(`a value of ${channel} has two offsets`);
    checkOrder(channel, values);
    const top = Math.max(0, ...values.keys());
    for (const { client, reading } of readings) {
      if (!reading.isLive || reading.position < top)
        throw new Error(`${client.name} stopped at ${reading.position} of ${channel}, not ${top}`);
      const has = new Set(reading.seen.map(({ offset }) => offset));
      for (const { offset } of acknowledged)
        if (offset > reading.from && !has.has(offset) && !reading.lost.has(offset))
          throw new Error(
            `${client.name} never saw offset ${offset} of ${channel}, and was not told`,
          );
      seen += has.size;
      lost += reading.lost.size;
    }
  }
  return { seen, lost };
}

/** What one client published keeps its order. */
function checkOrder(channel: string, values: ReadonlyMap<number, string>): void {
  const latest = new Map<string, number>();
  for (const [offset, value] of [...values].sort(([a], [b]) => a - b)) {
    const [client, seq] = value.split("/");
    if (Number(seq) <= (latest.get(client) ?? 0))
      throw new Error(`${client}'s ${seq} came late to ${channel}, at ${offset}`);
    latest.set(client, Number(seq));
  }
}

async function runAll(seeds: number, historySize: number): Promise<{ seen: number; lost: number }> {
  const total = { seen: 0, lost: 0 };
  const first = Number(process.env.SEED ?? 1);
  for (let seed = first; seed < first + seeds; seed++) {
    try {
      const { seen, lost } = await run(seed, historySize);
      total.seen += seen;
      total.lost += lost;
    } catch (error) {
      throw new Error(
        `SEED=${seed} RUNS=1, history ${historySize}: ${error instanceof Error ? error.stack : error}`,
      );
    }
  }
  return total;
}

const RUNS = Number(process.env.RUNS ?? 25);

setDefaultTimeout(600_000);

test("with enough history, kills and cuts and slow reading lose nothing", async () => {
  const { seen, lost } = await runAll(RUNS, 1000);
  expect(lost).toBe(0);
  expect(seen).toBeGreaterThan(RUNS * 100);
});

test("with little history, what is lost is told", async () => {
  const { seen, lost } = await runAll(RUNS, 3);
  expect(lost).toBeGreaterThan(RUNS);
  expect(seen).toBeGreaterThan(RUNS * 100);
});
