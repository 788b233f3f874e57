// A process that does all that the supervisor asks for and nothing else: listens, says so, drains,
// stops.

import { parseAddress } from "../../../src/runtime/arguments.ts";
import {
  type ChildStatus,
  failToStart,
  obeySupervisor,
  report,
} from "../../../src/runtime/child-ipc.ts";

const flag = (name: string): string => process.argv[process.argv.indexOf(name) + 1] ?? "";
const address = parseAddress(flag("--listen"), "--listen");
let state: ChildStatus["state"] = "up";
let stopListening = () => {};

console.error(`started with ${process.argv.slice(2).join(" ")}`);
obeySupervisor({
  status: () => ({ state, connections: 0 }),
  drain: () => {
    state = "draining";
    if (process.argv.includes("--reuse-port")) stopListening();
  },
  undrain: () => {
    state = "up";
  },
  stop: () => {
    console.error(`${performance.timeOrigin + performance.now()} told to stop`);
    process.exit(0);
  },
});

try {
  const socket = { data() {} };
  if ("unix" in address) {
    Bun.listen({ unix: address.unix, socket });
    report({ type: "ready", address: `unix:${address.unix}` });
  } else {
    const reusePort = process.argv.includes("--reuse-port");
    const options = { hostname: address.host, port: address.port, socket, reusePort };
    const server = Bun.listen(options);
    stopListening = () => server.stop();
    console.error(`listening on ${address.host}:${server.port}`);
    report({ type: "ready", address: `${address.host}:${server.port}` });
  }
} catch (error) {
  failToStart(`${flag("--id")} cannot listen: ${error instanceof Error ? error.message : error}.`);
}
