// The load of question "lb": tunnels that echo, idle tunnels, HTTP requests and new connections,
// all through one load balancer.

import { quantile } from "../measure.ts";
import { type BytesSocket, dial } from "./bytes-socket.ts";
import { serveTasks } from "./serve.ts";
import { binaryFrame, openMany, openWebSocket } from "./websocket.ts";

const REQUEST = Buffer.from(
  "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n",
);

let port = 0;
let tunnels: BytesSocket[] = [];
let onEcho = (_tunnel: number) => {};

/** Opens or closes tunnels until there are `count`. */
async function hold(count: number): Promise<void> {
  for (const surplus of tunnels.splice(count)) surplus.terminate();
  const base = tunnels.length;
  const opened = await openMany(count - base, (index) =>
    openWebSocket({ port }, () => onEcho(base + index)),
  );
  tunnels = [...tunnels, ...opened];
}

/** Sends messages through all tunnels, `inFlight` each at a time, and waits for their echoes. */
function echo(messages: number, bytes: number, inFlight: number): Promise<object> {
  const message = binaryFrame(Buffer.alloc(bytes, "x"));
  const sentAt = tunnels.map((): number[] => []);
  const latencies = new Float64Array(messages);
  let sent = 0;
  let had = 0;
  const send = (tunnel: number) => {
    sent++;
    sentAt[tunnel].push(performance.now());
    tunnels[tunnel].send(message);
  };
  return new Promise((resolve) => {
    onEcho = (tunnel) => {
      latencies[had++] = performance.now() - (sentAt[tunnel].shift() ?? 0);
      if (sent < messages) send(tunnel);
      if (had === messages) resolve(latencyFigures(latencies));
    };
    for (let i = 0; i < inFlight; i++)
      for (const tunnel of tunnels.keys()) if (sent < messages) send(tunnel);
  });
}

function latencyFigures(latencies: Float64Array): object {
  latencies.sort();
  return { p50Ms: quantile(latencies, 0.5), p99Ms: quantile(latencies, 0.99) };
}

/** GETs over kept-alive connections, one at a time on each. */
async function get(requests: number, connections: number): Promise<object> {
  const latencies = new Float64Array(requests);
  let sent = 0;
  let had = 0;
  const ended = Promise.withResolvers<void>();
  const sockets = await openMany(connections, async () => {
    let sentAt = 0;
    let wanted = 0;
    let received = 0;
    const send = () => {
      if (sent === requests) return;
      sent++;
      sentAt = performance.now();
      socket.send(REQUEST);
    };
    const socket: BytesSocket = await dial({ port }, (chunk) => {
      if (received === 0) wanted = answerBytes(chunk);
      received += chunk.length;
      if (received < wanted) return;
      received = 0;
      latencies[had++] = performance.now() - sentAt;
      if (had === requests) ended.resolve();
      send();
    });
    return { socket, send };
  });
  for (const { send } of sockets) send();
  await ended.promise;
  for (const { socket } of sockets) socket.terminate();
  return latencyFigures(latencies);
}

/** The length of the response that begins with these bytes, which must hold its whole head. */
function answerBytes(chunk: Buffer): number {
  const end = chunk.indexOf("\r\n\r\n");
  const head = chunk.toString("latin1", 0, end);
  const length = /content-length: *(\d+)/i.exec(head)?.[1];
  if (!head.startsWith("HTTP/1.1 200") || length === undefined)
    throw new Error(`not the answer that was hoped for: ${head}`);
  return end + 4 + Number(length);
}

/** Opens WebSockets, several at a time, each for one echo. */
async function connect(connections: number): Promise<object> {
  const message = binaryFrame("hello");
  const latencies = new Float64Array(connections);
  await openMany(connections, async (index) => {
    const startedMs = performance.now();
    const echoed = Promise.withResolvers<void>();
    const socket = await openWebSocket({ port }, () => echoed.resolve());
    socket.send(message);
    await echoed.promise;
    latencies[index] = performance.now() - startedMs;
    socket.terminate();
  });
  return latencyFigures(latencies);
}

serveTasks(async (task) => {
  const number = (name: string) => Number(task[name]);
  switch (task.kind) {
    case "aim":
      port = number("port");
      return {};
    case "hold":
      await hold(number("tunnels"));
      return {};
    case "echo":
      return echo(number("messages"), number("bytes"), number("inFlight"));
    case "get":
      return get(number("messages"), number("connections"));
    case "connect":
      return connect(number("messages"));
    default:
      throw new Error(`no such task: ${task.kind}`);
  }
});
