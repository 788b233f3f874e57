// The load of question "come-back": clients that reconnect as their library or its tutorials do,
// one of which publishes numbers. Reports when disconnected clients received messages again, and
// what each of them missed or received twice.

import { join } from "node:path";
import { connect } from "../../src/client/index.ts";
import { quantile } from "../measure.ts";
import { serveTasks } from "./serve.ts";
import { openMany } from "./websocket.ts";

const CHANNEL = "numbers";
/** The reconnect delay in tutorials. */
const RECONNECT_MS = 1000;
const SETTLE_MS = 3000;

type Client = { publish(number: number): void };
type Events = { cut(): void; heard(number: number): void };
/** Resolves when it is subscribed. */
type Open = (port: number, events: Events) => Promise<Client>;

const tutti: Open = async (port, { cut, heard }) => {
  const client = connect(`ws://127.0.0.1:${port}`);
  const channel = client.channel<number>(CHANNEL);
  channel.on("message", ({ data }) => heard(data));
  client.on("disconnected", cut);
  await channel.subscribe();
  return { publish: (number) => void channel.publish(number).catch(() => {}) };
};

const classic: Open = (port, { cut, heard }) =>
  new Promise((subscribed) => {
    let socket: WebSocket;
    const publish = (number: number) => {
      if (socket.readyState === WebSocket.OPEN)
        socket.send(JSON.stringify({ type: "publish", channel: CHANNEL, data: number }));
    };
    const dial = () => {
      socket = new WebSocket(`ws://127.0.0.1:${port}`);
      socket.onopen = () => socket.send(JSON.stringify({ type: "subscribe", channel: CHANNEL }));
      socket.onmessage = ({ data }) => {
        const message = JSON.parse(String(data));
        if (message.type === "message") heard(message.data);
        else subscribed({ publish });
      };
      socket.onclose = () => {
        cut();
        setTimeout(dial, RECONNECT_MS);
      };
    };
    dial();
  });

const socketIo: Open = async (port, { cut, heard }) => {
  const { io } = await import(
    Bun.resolveSync("socket.io-client", join(import.meta.dir, "../peers"))
  );
  const socket = io(`http://127.0.0.1:${port}`, { transports: ["websocket"], forceNew: true });
  socket.on("message", heard);
  socket.on("disconnect", cut);
  await new Promise<void>((subscribed) =>
    socket.on("connect", () => socket.emit("subscribe", CHANNEL, subscribed)),
  );
  return { publish: (number) => socket.emit("publish", CHANNEL, number) };
};

const OPENERS: Record<string, Open> = { tutti, classic, socketIo };

class Subscriber {
  isCut = false;
  /** When it first received a message after its disconnect. */
  backAtMs: number | undefined;
  readonly had = new Set<number>();
  repeats = 0;

  heard(number: number): void {
    if (this.isCut) this.backAtMs ??= performance.now();
    if (this.had.has(number)) this.repeats++;
    this.had.add(number);
  }
}

let subscribers: Subscriber[] = [];
let publisher: Client = { publish() {} };
let cutAtMs: number | undefined;

async function open(kind: string, port: number, count: number): Promise<void> {
  const opener = OPENERS[kind];
  subscribers = await openMany(count, async () => {
    const subscriber = new Subscriber();
    const cut = () => {
      cutAtMs ??= performance.now();
      subscriber.isCut = true;
    };
    await opener(port, { cut, heard: (number) => subscriber.heard(number) });
    return subscriber;
  });
  publisher = await opener(port, { cut() {}, heard() {} });
}

async function publish(rate: number, seconds: number): Promise<object> {
  const total = rate * seconds;
  for (let number = 0; number < total; number++) {
    publisher.publish(number);
    await Bun.sleep(1000 / rate);
  }
  await Bun.sleep(SETTLE_MS);
  const cut = subscribers.filter(({ isCut }) => isCut);
  const since = cutAtMs ?? 0;
  const back = Float64Array.from(
    cut,
    ({ backAtMs = Number.POSITIVE_INFINITY }) => backAtMs - since,
  ).sort();
  return {
    cut: cut.length,
    halfMs: quantile(back, 0.5),
    mostMs: quantile(back, 0.95),
    allMs: back.at(-1) ?? Number.NaN,
    lost: subscribers.reduce((sum, { had }) => sum + total - had.size, 0),
    repeats: subscribers.reduce((sum, each) => sum + each.repeats, 0),
  };
}

serveTasks(async ({ kind, protocol, port, clients, rate, seconds }) => {
  if (kind === "publish") return publish(Number(rate), Number(seconds));
  await open(String(protocol), Number(port), Number(clients));
  return {};
});
