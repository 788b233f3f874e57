// Clients of a whole stack: they connect, subscribe, publish and call, and report deliveries and
// latencies.

import { quantile } from "../measure.ts";
import type { BytesSocket } from "./bytes-socket.ts";
import { type Conversation, isKind, type Kind, PROTOCOLS } from "./protocols.ts";
import { serveTasks } from "./serve.ts";
import { openMany, openWebSocket } from "./websocket.ts";

/** Connections whose deliveries are timed; the others only count. */
const TIMED_CONNECTIONS = 64;
const TIMES_MAX = 1_000_000;
const STAMP = '{"t":';
const STAMP_DIGITS = 16;

const nowMs = (): number => performance.timeOrigin + performance.now();

/** Data of `bytes` bytes with its time of sending in whole µs, which JSON represents exactly. */
function stamped(bytes: number): string {
  const head = `${STAMP}${Math.round(nowMs() * 1000)},"x":"`;
  return `${head}${"x".repeat(Math.max(0, bytes - head.length - 2))}"}`;
}

let deliveries = 0;
let wanted = Number.POSITIVE_INFINITY;
let onWanted = () => {};
const times = new Float64Array(TIMES_MAX);
let timed = 0;

class Connection {
  readonly #talk: Conversation;
  readonly #isTimed: boolean;
  readonly #ready = Promise.withResolvers<void>();
  #socket: BytesSocket | undefined;
  #onAnswer: () => void = () => {};

  constructor(kind: Kind, isTimed: boolean) {
    this.#isTimed = isTimed;
    this.#talk = PROTOCOLS[kind].talk({
      ready: this.#ready.resolve,
      answered: () => this.#onAnswer(),
      published: (bytes, start, end) => this.#published(bytes, start, end),
      send: (frame) => this.#socket?.send(frame),
    });
  }

  async open(port: number, path: string): Promise<void> {
    const early: Buffer[] = [];
    const receive = (bytes: Buffer, start: number, end: number) => {
      // Bytes that arrive with the 101 are read once there is a socket to answer on.
      if (this.#socket === undefined) early.push(bytes.subarray(start, end));
      else this.#talk.receive(bytes, start, end);
    };
    this.#socket = await openWebSocket({ port }, receive, { path });
    for (const message of early) this.#talk.receive(message, 0, message.length);
    if (this.#talk.greeting !== undefined) this.#socket.send(this.#talk.greeting);
    await this.#ready.promise;
  }

  subscribe(channel: string): Promise<void> {
    return this.#ask(this.#talk.subscribe(channel));
  }

  call(data: string): Promise<void> {
    return this.#ask(this.#talk.call(data));
  }

  publish(channel: string, data: string): void {
    this.#socket?.send(this.#talk.publish(channel, data));
  }

  close(): void {
    this.#socket?.terminate();
  }

  #ask(question: Buffer): Promise<void> {
    return new Promise((resolve) => {
      this.#onAnswer = resolve;
      this.#socket?.send(question);
    });
  }

  #published(bytes: Buffer, start: number, end: number): void {
    if (this.#isTimed && timed < TIMES_MAX) {
      const at = bytes.indexOf(STAMP, start, "latin1") + STAMP.length;
      if (at + STAMP_DIGITS <= Math.min(end, bytes.length))
        times[timed++] = nowMs() - Number(bytes.toString("latin1", at, at + STAMP_DIGITS)) / 1000;
    }
    if (++deliveries >= wanted) onWanted();
  }
}

let connections: Connection[] = [];

async function connect(kind: Kind, port: number, count: number): Promise<void> {
  const timedEvery = Math.max(1, Math.floor(count / TIMED_CONNECTIONS));
  for (const surplus of connections.splice(count)) surplus.close();
  const base = connections.length;
  const opened = await openMany(count - base, async (index) => {
    const connection = new Connection(kind, index % timedEvery === 0);
    await connection.open(port, PROTOCOLS[kind].path);
    return connection;
  });
  connections = [...connections, ...opened];
}

const channelName = (index: number): string => `channel-${index}`;

/**
 * Subscribes connections to each channel, spread over all connections; each connection waits for
 * one answer at a time.
 */
async function subscribe(
  channels: number,
  first: number,
  subscribersOf: (channel: number) => number,
): Promise<number> {
  const plan = connections.map((): string[] => []);
  let next = 0;
  for (let channel = 0; channel < channels; channel++)
    for (let i = 0; i < subscribersOf(channel); i++)
      plan[next++ % plan.length].push(channelName(first + channel));
  await openMany(connections.length, async (index) => {
    for (const channel of plan[index]) await connections[index].subscribe(channel);
  });
  return next;
}

/** Publishes at an even rate for `seconds`, over the channels and connections in turn. */
async function publish(
  rate: number,
  seconds: number,
  bytes: number,
  channels: number,
  first: number,
): Promise<number> {
  const total = Math.round(rate * seconds);
  const startedMs = performance.now();
  let sent = 0;
  while (sent < total) {
    const due = Math.min(total, Math.ceil(((performance.now() - startedMs) / 1000) * rate));
    for (; sent < due; sent++) {
      // A stride, so that channels are not used in the order of their creation.
      const channel = first + ((sent * 7919) % channels);
      connections[sent % connections.length].publish(channelName(channel), stamped(bytes));
    }
    await Bun.sleep(1);
  }
  return total;
}

/** Resolves after `deliveries` deliveries since `listen`, or after the timeout. */
function settled(count: number, timeoutMs: number): Promise<void> {
  if (deliveries >= count) return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, timeoutMs);
    wanted = count;
    onWanted = () => {
      wanted = Number.POSITIVE_INFINITY;
      clearTimeout(timer);
      resolve();
    };
  });
}

function heard(): object {
  const sorted = times.subarray(0, timed).sort();
  return {
    deliveries,
    p50Ms: quantile(sorted, 0.5),
    p99Ms: quantile(sorted, 0.99),
    maxMs: sorted.at(-1) ?? Number.NaN,
  };
}

/** Each connection sends a request, waits for its answer, and repeats, up to the total count. */
async function call(requests: number, bytes: number): Promise<object> {
  const data = stamped(bytes);
  let asked = 0;
  timed = 0;
  await openMany(
    connections.length,
    async (index) => {
      while (asked++ < requests) {
        const startedMs = performance.now();
        await connections[index].call(data);
        times[timed++] = performance.now() - startedMs;
      }
    },
    connections.length,
  );
  return heard();
}

serveTasks(async (task) => {
  const number = (name: string) => Number(task[name]);
  switch (task.kind) {
    case "connect":
      if (!isKind(task.protocol)) throw new Error(`no such protocol: ${task.protocol}`);
      await connect(task.protocol, number("port"), number("connections"));
      return {};
    case "subscribeAll":
      return { subscriptions: await subscribe(1, 0, () => connections.length) };
    case "subscribeFew":
      return {
        subscriptions: await subscribe(
          number("channels"),
          number("first"),
          (channel) => 1 + (channel % number("most")),
        ),
      };
    case "publish":
      return {
        published: await publish(
          number("rate"),
          number("seconds"),
          number("bytes"),
          number("channels"),
          number("first"),
        ),
      };
    case "listen":
      deliveries = 0;
      timed = 0;
      return {};
    case "heard":
      await settled(number("deliveries"), number("timeoutMs"));
      return heard();
    case "call":
      return call(number("requests"), number("bytes"));
    default:
      throw new Error(`no such task: ${task.kind}`);
  }
});
