// Publishes to redis and reads from it: PUBLISH, which keeps no history, and streams (XADD and
// XREAD), which do.

import { RedisClient } from "bun";
import {
  CHANNELS,
  type Connect,
  channelNames,
  HISTORY,
  PAYLOAD,
  SUBSCRIBERS,
} from "./broker-driver.ts";
import { dial } from "./bytes-socket.ts";

const LINE_FEED = 10;

const command = (...words: string[]): Buffer =>
  Buffer.from(
    `*${words.length}\r\n${words.map((word) => `$${word.length}\r\n${word}\r\n`).join("")}`,
  );

export const redisPublish: Connect = async ({ port }, progress) => {
  const messages = channelNames.map((channel) => command("message", channel, PAYLOAD).length);
  const bytesOfAll = messages.reduce((sum, bytes) => sum + bytes, 0);
  const subscribe = (subscriber: number) =>
    new Promise<void>((subscribed, failed) => {
      let greeting = "";
      let bytes = -1;
      dial({ port }, (chunk) => {
        if (bytes === -1) {
          greeting += chunk.toString();
          if (!greeting.endsWith(`:${CHANNELS}\r\n`)) return;
          bytes = 0;
          subscribed();
        } else {
          bytes += chunk.length;
          progress.received(subscriber, (bytes / bytesOfAll) * CHANNELS);
        }
      }).then((socket) => socket.send(command("SUBSCRIBE", ...channelNames)), failed);
    });
  await Promise.all(Array.from({ length: SUBSCRIBERS }, (_, i) => subscribe(i)));
  const commands = channelNames.map((channel) => command("PUBLISH", channel, PAYLOAD));
  return publisher(port, commands, (chunk) => count(chunk, LINE_FEED), progress.acknowledged);
};

export const redisStreams: Connect = async ({ port }, progress) => {
  const commands = channelNames.map((channel) =>
    command("XADD", channel, "MAXLEN", "~", String(HISTORY), "*", "data", PAYLOAD),
  );
  // An XADD is answered by the entry's id, a bulk string: two lines.
  const driver = await publisher(
    port,
    commands,
    (chunk) => count(chunk, LINE_FEED) / 2,
    progress.acknowledged,
  );
  for (let i = 0; i < SUBSCRIBERS; i++) {
    const client = new RedisClient(`redis://127.0.0.1:${port}`);
    await client.connect();
    readStreams(client, (total) => progress.received(i, total)).catch((error: unknown) =>
      console.error(error),
    );
  }
  return driver;
};

async function readStreams(client: RedisClient, received: (total: number) => void): Promise<void> {
  const positions = new Map(channelNames.map((channel) => [channel, "0"]));
  let total = 0;
  for (;;) {
    const names = [...positions.keys()];
    const answer: unknown = await client.send("XREAD", [
      "COUNT",
      "1000",
      "BLOCK",
      "60000",
      "STREAMS",
      ...names,
      ...positions.values(),
    ]);
    if (typeof answer !== "object" || answer === null) continue;
    for (const [channel, entries] of Array.isArray(answer) ? answer : Object.entries(answer)) {
      positions.set(channel, entries.at(-1)[0]);
      total += entries.length;
    }
    received(total);
  }
}

async function publisher(
  port: number,
  commands: readonly Buffer[],
  answersIn: (chunk: Buffer) => number,
  onAcknowledged: (total: number) => void,
) {
  let acknowledged = 0;
  const socket = await dial({ port }, (chunk) => {
    acknowledged += answersIn(chunk);
    onAcknowledged(acknowledged);
  });
  return {
    publish(first: number, howMany: number) {
      for (let number = first; number < first + howMany; number++)
        socket.send(commands[number % CHANNELS]);
    },
  };
}

function count(bytes: Uint8Array, wanted: number): number {
  let found = 0;
  for (let at = bytes.indexOf(wanted); at !== -1; at = bytes.indexOf(wanted, at + 1)) found++;
  return found;
}
