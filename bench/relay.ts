// The relay alone, beside redis-server: CPU time of the broker per 100-byte publication, spread over 100 channels to 4 subscribers.
// Ours journals and remembers each one; redis PUBLISH does neither. In turns, so that a noisy machine troubles both alike.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { Socket, Subprocess } from "bun";
import { encodePublish } from "../src/wire/frame.ts";
import { Link } from "../src/wire/link.ts";

const CHANNELS = 100;
const SUBSCRIBERS = 4;
const PAYLOAD_BYTES = 100;
/** Publications on their way at a time. */
const WINDOW = 1000;
/** Enough to have gone once round the relay's memory. */
const WARM_UP = 1_000_000;

/** A broker under test. `run` publishes that many and resolves when every subscriber has had them all. */
type Broker = {
  readonly name: string;
  readonly pid: number;
  run(publications: number): Promise<void>;
  stop(): Promise<void>;
};
type Sample = { cpuUs: number; perSecond: number };

const { values } = parseArgs({
  options: { rounds: { type: "string", default: "5" }, publications: { type: "string", default: "500000" } },
});
const rounds = Number(values.rounds);
const publications = Number(values.publications);
const payload = new TextEncoder().encode(JSON.stringify("x".repeat(PAYLOAD_BYTES - 2)));

/** User and system time of a process so far, in µs. */
function cpuUsOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10_000;
}

const until = <T>(start: (done: (value: T) => void) => void): Promise<T> => new Promise(start);

async function startRelay(): Promise<Broker> {
  const folder = mkdtempSync(join(tmpdir(), "tutti-bench-"));
  const secret = "only for this benchmark";
  const secretFile = join(folder, "secret");
  writeFileSync(secretFile, secret, { mode: 0o600 });
  const address = await new Promise<string>((resolve) => {
    child = Bun.spawn(
      [process.execPath, join(import.meta.dir, "../src/relay/main.ts"), "--data", folder, "--secret-file", secretFile],
      { stderr: "ignore", ipc: (message) => resolve(String(message.address)) },
    );
  });
  const port = Number(address.split(":")[1]);
  const policy = { size: 1000, ttlMs: 600_000, bytes: 1024 * 1024 };
  const received = new Array<number>(SUBSCRIBERS).fill(0);
  let onReceived = () => {};
  const ids: number[] = [];

  const open = (id: string, live: boolean, onPublication: () => void) =>
    until<Link>((ready) => {
      let opened = 0;
      const link = new Link(
        { address: { host: "127.0.0.1", port }, secret, role: "node", id },
        {
          welcome: () => {
            for (let i = 0; i < CHANNELS; i++)
              link.sendMessage({ type: "open", channel: `channel-${i}`, live, presence: false, policy, since: null });
          },
          publication: onPublication,
          message: (message) => {
            if (message.type === "opened") {
              ids[Number(message.channel.slice(8))] = message.id;
              if (++opened === CHANNELS) ready(link);
            } else if (message.type === "ack") {
              acknowledged += message.outcomes.length;
              onReceived();
            }
          },
          lost: (reason) => console.error(`link ${id} lost: ${reason}`),
        },
      );
    });

  let acknowledged = 0;
  let seq = 0;
  const subscribers = await Promise.all(
    received.map((_, i) =>
      open(`subscriber-${i}`, true, () => {
        received[i]++;
        if (received[i] % WINDOW === 0) onReceived();
      }),
    ),
  );
  const publisher = await open("publisher", false, () => {});
  const producer = { high: 1, low: 2 };

  return {
    name: "tutti relay (journal, history)",
    pid: child.pid,
    run: (count) =>
      until<void>((done) => {
        const target = received[0] + count;
        const first = seq;
        let sent = 0;
        const base = acknowledged;
        onReceived = () => {
          for (; sent < count && sent - (acknowledged - base) < WINDOW; sent++)
            publisher.send(encodePublish(ids[(first + sent) % CHANNELS], producer, ++seq, payload));
          if (received.every((had) => had >= target)) done();
        };
        onReceived();
      }),
    stop: async () => {
      for (const link of [...subscribers, publisher]) link.close();
      child.kill();
      await child.exited;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

let child: Subprocess;

async function startRedis(): Promise<Broker | undefined> {
  if (Bun.which("redis-server") === null) return undefined;
  const folder = mkdtempSync(join(tmpdir(), "tutti-bench-redis-"));
  const socketPath = join(folder, "redis.sock");
  const port = await freePort();
  const redis = Bun.spawn(
    [
      "redis-server",
      "--port",
      String(port),
      "--save",
      "",
      "--appendonly",
      "no",
      "--dir",
      folder,
      "--unixsocket",
      socketPath,
    ],
    { stdout: "ignore", stderr: "ignore" },
  );
  const connect = async (onBytes: (bytes: Uint8Array) => void) => {
    for (;;) {
      try {
        return await Bun.connect({
          hostname: "127.0.0.1",
          port,
          socket: { data: (_, bytes) => onBytes(bytes), drain: () => drained() },
        });
      } catch {
        await Bun.sleep(20);
      }
    }
  };
  let drained = () => {};
  const received = new Array<number>(SUBSCRIBERS).fill(0);
  let onReceived = () => {};
  const messageBytes = Array.from({ length: CHANNELS }, (_, i) => `channel-${i}`.length);
  const frameBytes = (channel: number) =>
    `*3\r\n$7\r\nmessage\r\n$${messageBytes[channel]}\r\n`.length +
    messageBytes[channel] +
    `\r\n$${PAYLOAD_BYTES}\r\n`.length +
    PAYLOAD_BYTES +
    2;
  const roundBytes = Array.from({ length: CHANNELS }, (_, i) => frameBytes(i)).reduce((sum, bytes) => sum + bytes, 0);
  const bytesHad = new Array<number>(SUBSCRIBERS).fill(0);
  const subscribers = await Promise.all(
    received.map(async (_, i) => {
      const subscribed = Promise.withResolvers<void>();
      let greeting = "";
      let isSubscribed = false;
      const socket = await connect((bytes) => {
        if (!isSubscribed) {
          greeting += new TextDecoder().decode(bytes);
          isSubscribed = greeting.endsWith(`:${CHANNELS}\r\n`);
          if (isSubscribed) subscribed.resolve();
          return;
        }
        bytesHad[i] += bytes.length;
        received[i] = (bytesHad[i] / roundBytes) * CHANNELS;
        onReceived();
      });
      socket.write(`SUBSCRIBE ${Array.from({ length: CHANNELS }, (_, c) => `channel-${c}`).join(" ")}\r\n`);
      await subscribed.promise;
      return socket;
    }),
  );
  let acknowledged = 0;
  const publisher = await connect((bytes) => {
    for (const byte of bytes) if (byte === 0x0a) acknowledged++;
    onReceived();
  });
  const text = new TextDecoder().decode(payload);
  const commands = Array.from(
    { length: CHANNELS },
    (_, i) => `*3\r\n$7\r\nPUBLISH\r\n$${messageBytes[i]}\r\nchannel-${i}\r\n$${PAYLOAD_BYTES}\r\n${text}\r\n`,
  );

  return {
    name: "redis-server PUBLISH",
    pid: redis.pid,
    run: (count) =>
      until<void>((done) => {
        const target = received[0] + count - 0.5;
        const base = acknowledged;
        let sent = 0;
        let pending = "";
        const send = () => {
          for (; sent < count && sent - (acknowledged - base) < WINDOW; sent++) pending += commands[sent % CHANNELS];
          pending = writeText(publisher, pending);
          if (received.every((had) => had >= target)) done();
        };
        onReceived = send;
        drained = send;
        send();
      }),
    stop: async () => {
      for (const socket of [...subscribers, publisher]) socket.terminate();
      redis.kill();
      await redis.exited;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Writes what the socket takes (ASCII only), returns the rest. */
function writeText(socket: Socket<undefined>, text: string): string {
  return text === "" ? "" : text.slice(Math.max(0, socket.write(text)));
}

async function freePort(): Promise<number> {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data: () => {} } });
  const { port } = listener;
  listener.stop();
  return port;
}

const median = (numbers: number[]): number => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)];
const spread = (numbers: number[], digits: number): string =>
  `${median(numbers).toFixed(digits)}  (${Math.min(...numbers).toFixed(digits)} – ${Math.max(...numbers).toFixed(digits)})`;

const brokers = [await startRelay(), await startRedis()].filter((broker) => broker !== undefined);
if (brokers.length === 1) console.log("redis-server is not installed: only the relay is measured.");
const samples = new Map<Broker, Sample[]>(brokers.map((broker) => [broker, []]));
for (const broker of brokers) await broker.run(WARM_UP);
for (let round = 0; round < rounds; round++) {
  for (const broker of brokers) {
    const cpuBefore = cpuUsOf(broker.pid);
    const startedMs = performance.now();
    await broker.run(publications);
    const seconds = (performance.now() - startedMs) / 1000;
    samples
      .get(broker)
      ?.push({ cpuUs: (cpuUsOf(broker.pid) - cpuBefore) / publications, perSecond: publications / seconds });
  }
}
console.log(
  `${publications} publications of ${PAYLOAD_BYTES} bytes a round, ${CHANNELS} channels, ${SUBSCRIBERS} subscribers, ${rounds} rounds; median (min – max)\n`,
);
for (const [broker, taken] of samples) {
  console.log(broker.name);
  console.log(
    `  broker CPU per publication, µs   ${spread(
      taken.map(({ cpuUs }) => cpuUs),
      2,
    )}`,
  );
  console.log(
    `  publications per second          ${spread(
      taken.map(({ perSecond }) => perSecond),
      0,
    )}`,
  );
}
if (brokers.length === 2) {
  const [ours, theirs] = brokers.map((broker) => median((samples.get(broker) ?? []).map(({ cpuUs }) => cpuUs)));
  console.log(`\nratio of CPU, ours to redis: ${(ours / theirs).toFixed(2)}`);
}
for (const broker of brokers) await broker.stop();
process.exit(0);
