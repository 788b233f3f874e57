// The server of the classic stack, as tutorials write it: `ws`, with redis pub/sub between servers.
// Usage: node ws-server.js PORT REDIS_PORT

import { createServer } from "node:http";
import { createClient } from "redis";
import { WebSocketServer } from "ws";

const [port, redisPort] = process.argv.slice(2);
const publisher = createClient({ url: `redis://127.0.0.1:${redisPort}` });
const subscriber = publisher.duplicate();
await Promise.all([publisher.connect(), subscriber.connect()]);

/** The sockets on this server that are subscribed to each channel. */
const channels = new Map();

async function subscribe(socket, channel) {
  const sockets = channels.get(channel) ?? new Set();
  sockets.add(socket);
  socket.channels.add(channel);
  if (channels.has(channel)) return;
  channels.set(channel, sockets);
  await subscriber.subscribe(channel, (message) => {
    for (const each of sockets) each.send(message);
  });
}

async function leave(socket) {
  for (const channel of socket.channels) {
    const sockets = channels.get(channel);
    sockets?.delete(socket);
    if (sockets?.size !== 0) continue;
    channels.delete(channel);
    await subscriber.unsubscribe(channel);
  }
}

const http = createServer((_, response) => response.end("Hello, world"));
const server = new WebSocketServer({ server: http });

server.on("connection", (socket) => {
  socket.channels = new Set();
  socket.on("error", console.error);
  socket.on("close", () => leave(socket).catch(console.error));
  socket.on("message", async (text) => {
    const { type, channel, data, id } = JSON.parse(text);
    if (type === "publish") {
      await publisher.publish(channel, JSON.stringify({ type: "message", channel, data }));
    } else if (type === "subscribe") {
      await subscribe(socket, channel);
      socket.send(JSON.stringify({ type: "ok", id }));
    } else if (type === "call") {
      socket.send(JSON.stringify({ type: "ok", id, data }));
    }
  });
});

http.listen(Number(port), "127.0.0.1");
