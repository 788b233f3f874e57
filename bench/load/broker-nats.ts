// Publishes to nats-server and reads from it: core NATS, which keeps no history, and JetStream,
// which keeps a stream in files.

import {
  CHANNELS,
  type Connect,
  channelNames,
  HISTORY,
  PAYLOAD,
  SUBSCRIBERS,
} from "./broker-driver.ts";
import { type BytesSocket, dial } from "./bytes-socket.ts";
import { NatsStream } from "./nats-stream.ts";

export const nats: Connect = async ({ port }, progress) => {
  for (let i = 0; i < SUBSCRIBERS; i++) {
    await subscribe(port, channelNames, (total) => {
      progress.received(i, total);
      // Core NATS acknowledges nothing: a delivery counts as the acknowledgement.
      if (i === 0) progress.acknowledged(total);
    });
  }
  const socket = await connect(port, () => {});
  return publisher(
    socket,
    channelNames.map((channel) => `PUB ${channel} ${PAYLOAD.length}\r\n${PAYLOAD}\r\n`),
  );
};

export const jetStream: Connect = async ({ port }, progress) => {
  const answered = Promise.withResolvers<void>();
  let answers = 0;
  const socket = await subscribe(port, ["answers"], (total) => {
    answers = total;
    if (answers === 1 + SUBSCRIBERS) answered.resolve();
    progress.acknowledged(total - 1 - SUBSCRIBERS);
  });
  const stream = {
    name: "bench",
    subjects: channelNames,
    storage: "file",
    max_msgs_per_subject: HISTORY,
    num_replicas: 1,
  };
  ask(socket, "$JS.API.STREAM.CREATE.bench", stream);
  for (let i = 0; i < SUBSCRIBERS; i++) {
    await subscribe(port, [`deliver-${i}`], (total) => progress.received(i, total));
    const config = {
      deliver_subject: `deliver-${i}`,
      deliver_policy: "new",
      ack_policy: "none",
      replay_policy: "instant",
    };
    ask(socket, "$JS.API.CONSUMER.CREATE.bench", { stream_name: "bench", config });
  }
  await answered.promise;
  return publisher(
    socket,
    channelNames.map((channel) => `PUB ${channel} answers ${PAYLOAD.length}\r\n${PAYLOAD}\r\n`),
  );
};

function ask(socket: BytesSocket, subject: string, question: object): void {
  const text = JSON.stringify(question);
  socket.send(Buffer.from(`PUB ${subject} answers ${text.length}\r\n${text}\r\n`));
}

function publisher(socket: BytesSocket, commands: readonly string[]) {
  const bytes = commands.map((command) => Buffer.from(command));
  return {
    publish(first: number, count: number) {
      for (let number = first; number < first + count; number++)
        socket.send(bytes[number % CHANNELS]);
    },
  };
}

/**
 * A connection whose subscriptions the server has confirmed. `onTotal`: messages received so far,
 * once per chunk.
 */
async function subscribe(
  port: number,
  subjects: readonly string[],
  onTotal: (total: number) => void,
): Promise<BytesSocket> {
  const socket = await connect(port, onTotal);
  socket.send(
    Buffer.from(subjects.map((subject, sid) => `SUB ${subject} ${sid + 1}\r\n`).join("")),
  );
  return socket;
}

async function connect(port: number, onTotal: (total: number) => void): Promise<BytesSocket> {
  const ready = Promise.withResolvers<void>();
  const messages = new NatsStream({
    pong: ready.resolve,
    ping: () => socket.send(Buffer.from("PONG\r\n")),
  });
  const socket = await dial({ port }, (chunk) => {
    const before = messages.total;
    messages.feed(chunk);
    if (messages.total > before) onTotal(messages.total);
  });
  socket.send(
    Buffer.from('CONNECT {"verbose":false,"pedantic":false,"no_responders":false}\r\nPING\r\n'),
  );
  await ready.promise;
  return socket;
}
