// The lb's process: reads the flags, listens, obeys signals and its supervisor. Everything else is
// in the files it starts.

import { randomBytes } from "node:crypto";
import {
  failToStart,
  isSupervised,
  obeySupervisor,
  orFailToStart,
  report,
} from "../runtime/child-ipc.ts";
import { createLogger } from "../runtime/log.ts";
import { Certificates } from "./accept/certificate-files.ts";
import { LoadBalancer } from "./load-balancer.ts";
import { codeOf } from "./net/socket-owner.ts";
import { HELP, type Options, parseOptions } from "./options.ts";
import { AccessLogFile } from "./telemetry/access-log-file.ts";
import { Directory } from "./upstreams/directory.ts";

/** How long a fresh lb waits for a first registry before it calls itself ready. */
const REGISTRY_WAIT_MS = 1000;

function readOptions(): Options {
  const options = orFailToStart(() => parseOptions(process.argv.slice(2)));
  if (options !== undefined) return options;
  process.stdout.write(HELP);
  process.exit(0);
}

function listen(lb: LoadBalancer, { listen: { host, port } }: Options): string {
  try {
    return lb.listen();
  } catch (error) {
    const flag = isSupervised() ? "--port" : "--listen";
    if (codeOf(error) === "EADDRINUSE")
      failToStart(`Port ${port} on ${host} is already in use: choose another with ${flag}.`);
    failToStart(
      `Cannot listen on ${host} port ${port} (${codeOf(error)}): choose another address.`,
    );
  }
}

function openAccessLog({ accessLog, id }: Options): AccessLogFile | undefined {
  return accessLog === undefined
    ? undefined
    : orFailToStart(() => new AccessLogFile(accessLog, id, log));
}

function readCertificates({ certificates }: Options): Certificates | undefined {
  return certificates.length === 0
    ? undefined
    : orFailToStart(() => new Certificates(certificates, log));
}

const options = readOptions();
const log = createLogger("lb", options.id, options.logLevel);
const key = options.key ?? randomBytes(32).toString("base64");
const accessLog = openAccessLog(options);
const lb = new LoadBalancer(options, key, log, accessLog, readCertificates(options));
let state: "starting" | "up" | "draining" = "starting";
let directory: Directory | undefined;
const address = listen(lb, options);

if (options.source.kind === "relays") {
  const { relays, secret } = options.source;
  const linked = new Directory({ id: options.id, sync: lb.upstreams, relays, secret, log });
  lb.sendReport = (report) => linked.sendReport(report);
  directory = linked;
} else {
  lb.upstreams.addFixedUpstreams(options.source.upstreams);
}

async function stop(): Promise<void> {
  state = "draining";
  log.info("stopping");
  await lb.stop();
  directory?.stop();
  await accessLog?.close();
  process.exit(0);
}

obeySupervisor({
  status: (withCounters) => ({
    state,
    connections: lb.connections,
    ...(withCounters ? { counters: lb.counters() } : {}),
  }),
  drain() {
    if (state === "draining") return;
    state = "draining";
    lb.drain();
  },
  undrain() {
    if (state !== "draining") return;
    state = "up";
    lb.undrain();
  },
  stop: () => void stop(),
});
if (accessLog !== undefined && options.accessLog !== "-")
  process.on("SIGHUP", () => accessLog.reopen());
process.on("SIGUSR2", () => log.info(lb.counts(), "counts"));

if (directory !== undefined) await Promise.race([directory.known(), Bun.sleep(REGISTRY_WAIT_MS)]);
directory?.announce(address);
if (state === "starting") state = "up";
log.info({ address }, `listening on ${address}`);
report({ type: "ready", address });
