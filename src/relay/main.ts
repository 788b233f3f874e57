// The relay's process: arguments, the data folder's lock, the port, signals.

import { mkdirSync, realpathSync } from "node:fs";
import { join } from "node:path";
import {
  orRefuse,
  parseCommandLine,
  parseInteger,
  parseLogLevel,
  parseTcpAddress,
  readSecret,
  UsageError,
} from "../runtime/arguments.ts";
import { obeySupervisor, orFailToStart, report } from "../runtime/child-ipc.ts";
import { lockFile } from "../runtime/lock.ts";
import { createLogger } from "../runtime/log.ts";
import { Relay } from "./relay.ts";
import { RelayServer } from "./server.ts";
import { recover } from "./store/recover.ts";

const HELP = `usage: bun src/relay/main.ts --data DIR --secret-file FILE [options]
  --id NAME            what this relay is called (relay-1)
  --listen HOST:PORT   where nodes and lbs link to it (127.0.0.1:0)
  --memory-mb N        memory and journal size, 32 to 65536 (128)
  --relays N           how many relays share the channels (1)
  --fsync              acknowledge only what has reached the disk
  --log-level LEVEL    debug, info, warn, error or silent (info)`;

const PING_MS = 1000;

function options() {
  const { values } = parseCommandLine(
    {
      options: {
        id: { type: "string", default: "relay-1" },
        listen: { type: "string", default: "127.0.0.1:0" },
        data: { type: "string" },
        "secret-file": { type: "string" },
        "memory-mb": { type: "string", default: "128" },
        relays: { type: "string", default: "1" },
        fsync: { type: "boolean", default: false },
        "log-level": { type: "string", default: "info" },
      },
    },
    HELP,
  );
  if (values.data === undefined) throw new UsageError(`--data is missing.\n\n${HELP}`);
  if (values["secret-file"] === undefined)
    throw new UsageError(`--secret-file is missing.\n\n${HELP}`);
  return {
    id: values.id,
    address: parseTcpAddress(values.listen, "--listen"),
    folder: values.data,
    secret: readSecret(values["secret-file"]),
    memoryBytes: parseInteger(values["memory-mb"], "--memory-mb", 32, 65_536) * 1024 * 1024,
    relays: parseInteger(values.relays, "--relays", 1, 1000),
    isSynced: values.fsync,
    logLevel: parseLogLevel(values["log-level"]),
  };
}

async function start(): Promise<void> {
  const { id, address, folder, secret, memoryBytes, relays, isSynced, logLevel } = options();
  const log = createLogger("relay", id, logLevel);
  const nowMs = Date.now();
  const lock = orRefuse(`The relay's data folder ${folder} cannot be written`, () => {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    return lockFile(join(folder, "lock.db"));
  });
  if (lock === undefined)
    throw new UsageError(
      `Another relay is using ${realpathSync(folder)}: stop it, or choose another --data.`,
    );
  let relay: Relay | undefined;
  const recovered = await recover({
    folder,
    memoryBytes,
    isSynced,
    relays,
    nowMs,
    log,
    onFree: (segment) => relay?.cutLaggards(segment),
    onProgress: () => report({ type: "progress" }),
  }).catch((error: unknown): never => {
    return orRefuse(`The relay's data folder ${folder} cannot be used`, () => {
      throw error;
    });
  });
  const { store, lineage } = recovered;
  const random = (bytes: number) => crypto.getRandomValues(new Uint8Array(bytes));
  relay = new Relay({ id, secret, lineage, pingMs: PING_MS, startedAtMs: nowMs }, store, random);
  const core = relay;
  const server = orRefuse(
    `The relay cannot listen on ${address.host}:${address.port}`,
    () => new RelayServer(core, store.segments, address, log),
  );
  const stop = () => {
    server.stop();
    recovered.close();
    lock.release();
    log.info("stopped");
    process.exit(0);
  };
  obeySupervisor({
    status: () => ({ state: "up", connections: core.linkCount }),
    drain: () => {},
    undrain: () => {},
    stop,
  });
  process.on("SIGUSR2", () => log.info(core.counts(), "counts"));
  const listening = `${address.host}:${server.port}`;
  log.info({ address: listening }, "relay is up");
  report({ type: "ready", address: listening });
}

start().catch((error: unknown) =>
  orFailToStart(() => {
    throw error;
  }),
);
