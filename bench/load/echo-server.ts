// The server behind the load balancer in question "lb": echoes each message, and answers HTTP with
// a few bytes.

import { serveTasks } from "./serve.ts";

const serve = (at: { unix: string } | { hostname: string; port: number }) =>
  Bun.serve({
    ...at,
    fetch: (request, server) =>
      server.upgrade(request) ? undefined : new Response("Hello, world"),
    websocket: {
      idleTimeout: 0,
      maxPayloadLength: 1024 * 1024,
      message: (socket, message) => {
        socket.send(message);
      },
    },
  });

// Each load balancer has its own port: a machine can open only about 28,000 connections to one
// port.
serveTasks(async (task) => {
  if (typeof task.unix === "string") serve({ unix: task.unix });
  return { port: serve({ hostname: "127.0.0.1", port: 0 }).port };
});
