// A Socket.IO server with the redis adapter, as in its documentation.
// Usage: node socket-io-server.js PORT REDIS_PORT

import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const [port, redisPort] = process.argv.slice(2);
const publisher = createClient({ url: `redis://127.0.0.1:${redisPort}` });
const subscriber = publisher.duplicate();
await Promise.all([publisher.connect(), subscriber.connect()]);

const http = createServer((request, response) => {
  if (!request.url.startsWith("/socket.io/")) response.end("Hello, world");
});
const io = new Server(http, {
  adapter: createAdapter(publisher, subscriber),
  transports: ["websocket"],
});

io.on("connection", (socket) => {
  socket.on("subscribe", async (channel, acknowledge) => {
    await socket.join(channel);
    acknowledge();
  });
  socket.on("publish", (channel, data) => {
    io.to(channel).emit("message", data);
  });
  socket.on("call", (data, acknowledge) => acknowledge(data));
});

http.listen(Number(port), "127.0.0.1");
