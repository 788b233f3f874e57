// The node's process: arguments, the app's file, the socket, signals.

import { existsSync, unlinkSync } from "node:fs";
import {
  type Address,
  formatAddress,
  orRefuse,
  parseAddress,
  parseCommandLine,
  parseInteger,
  parseLogLevel,
  parseRelays,
  readSecret,
  UsageError,
} from "../runtime/arguments.ts";
import { failToStart, obeySupervisor, report } from "../runtime/child-ipc.ts";
import { fileDescriptorLimit } from "../runtime/file-descriptors.ts";
import { createLogger } from "../runtime/log.ts";
import { Rules } from "./app/rules.ts";
import { describeError, loadApp } from "./load-app.ts";
import { ClusterNode } from "./node.ts";

const CONNECT_MS = 10_000;
const DEFAULT_APP = new URL("../chat/app.ts", import.meta.url).pathname;
/** File descriptors that are kept for other things than clients. */
const SPARE_FILES = 256;

const HELP = `usage: bun src/node/main.ts --relay ID=HOST:PORT --secret-file FILE [options]
  --id NAME            what this node is called (node-1)
  --listen ADDRESS     unix:/path or host:port (127.0.0.1:0)
  --relay ID=HOST:PORT a relay; repeat it for each, in the same order for every process
  --app FILE           your app.ts (the chat)
  --public-host HOST   the host that pages connect to, with its port unless usual (repeat)
  --require-connect    refuse an app without a connect function
  --ping-ms N          how often clients are pinged (25000)
  --log-level LEVEL    debug, info, warn, error or silent (info)`;

function options() {
  const { values } = parseCommandLine(
    {
      options: {
        id: { type: "string", default: "node-1" },
        listen: { type: "string", default: "127.0.0.1:0" },
        relay: { type: "string", multiple: true, default: [] },
        "secret-file": { type: "string" },
        app: { type: "string", default: DEFAULT_APP },
        "public-host": { type: "string", multiple: true, default: [] },
        "require-connect": { type: "boolean", default: false },
        "ping-ms": { type: "string", default: "25000" },
        "log-level": { type: "string", default: "info" },
      },
    },
    HELP,
  );
  if (values.relay.length === 0) throw new UsageError(`--relay is missing.\n\n${HELP}`);
  if (values["secret-file"] === undefined)
    throw new UsageError(`--secret-file is missing.\n\n${HELP}`);
  return {
    id: values.id,
    address: parseAddress(values.listen, "--listen"),
    relays: parseRelays(values.relay),
    secret: readSecret(values["secret-file"]),
    app: values.app,
    publicHosts: values["public-host"].map((host) => host.toLowerCase()),
    mustConnect: values["require-connect"],
    pingMs: parseInteger(values["ping-ms"], "--ping-ms", 100, 3_600_000),
    logLevel: parseLogLevel(values["log-level"]),
  };
}

async function start(): Promise<void> {
  const {
    id,
    address,
    relays,
    secret,
    app: file,
    publicHosts,
    mustConnect,
    pingMs,
    logLevel,
  } = options();
  const log = createLogger("node", id, logLevel);
  const app = await loadApp(file);
  const rules = orRefuse(`The app ${file} cannot be used`, () => new Rules(app));
  if (mustConnect && app.connect === undefined)
    throw new UsageError(
      `The app ${file} lets everyone in: give it a connect function that says who may, ` +
        "or add --open to let everyone in on purpose.",
    );
  await freeSocket(address);
  const connectionsMax = Math.max(1, fileDescriptorLimit() - SPARE_FILES);
  const wanted = rules.limits.connections ?? 0;
  if (wanted > connectionsMax)
    log.warn(
      { connections: connectionsMax },
      `limits.connections is ${wanted}, and the limit of file descriptors allows fewer`,
    );
  const node = orRefuse(
    `The node cannot listen on ${formatAddress(address)}`,
    () =>
      new ClusterNode({
        id,
        address,
        relays,
        secret,
        app,
        rules,
        pingMs,
        connectMs: CONNECT_MS,
        connectionsMax,
        publicHosts,
        log,
      }),
  );
  let isStopping = false;
  const stop = () => {
    if (isStopping) process.exit(1);
    isStopping = true;
    node.stop().finally(() => {
      log.info("stopped");
      process.exit(0);
    });
  };
  obeySupervisor({
    status: () => node.status,
    drain: () => node.drain(),
    undrain: () => node.undrain(),
    stop,
  });
  for (const event of ["uncaughtException", "unhandledRejection"] as const)
    process.on(event, (err: unknown) => {
      log.fatal({ err }, "the node or its app failed");
      process.exit(1);
    });
  try {
    await node.start();
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError(`The app ${file} failed to start:\n${describeError(error)}`);
  }
  report({ type: "ready", address: node.address });
}

/** Removes the socket file of a killed node. A live one stays: binding it then fails. */
async function freeSocket(address: Address): Promise<void> {
  if (!("unix" in address) || !existsSync(address.unix)) return;
  const isLive = await Bun.connect({ unix: address.unix, socket: { data() {} } }).then(
    (socket) => {
      socket.end();
      return true;
    },
    () => false,
  );
  if (!isLive) unlinkSync(address.unix);
}

start().catch((error: unknown) => {
  failToStart(error instanceof UsageError ? error.message : describeError(error));
});
