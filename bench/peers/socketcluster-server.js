// A SocketCluster server: one process with its built-in broker.
// Usage: node socketcluster-server.js PORT

import { createServer } from "node:http";
import socketClusterServer from "socketcluster-server";

const [port] = process.argv.slice(2);
const http = createServer((_, response) => response.end("Hello, world"));
const server = socketClusterServer.attach(http);

const calls = async (socket) => {
  for await (const request of socket.procedure("call")) request.end(request.data);
};

const connections = async () => {
  for await (const { socket } of server.listener("connection")) calls(socket).catch(console.error);
};

connections().catch(console.error);
http.listen(Number(port), "127.0.0.1");
