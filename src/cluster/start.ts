// `cluster start`: claims the data folder, runs the supervisor until it is stopped, and cleans up.

import { existsSync, readFileSync } from "node:fs";
import { resolve } from "node:path";
import { createLinePrinter, createLogger, type Logger } from "../runtime/log.ts";
import { serveAdmin } from "./admin/admin-server.ts";
import { DataFolder } from "./files/data-folder.ts";
import { Echo } from "./files/output.ts";
import { quoted } from "./files/quoted.ts";
import { Refusal } from "./files/refusal.ts";
import { startupBanner } from "./report/status-text.ts";
import { DEFAULT_DATA, inWordsOf, type Settings } from "./settings/config.ts";
import { type Programs, Supervisor } from "./supervision/supervisor.ts";

/** npm repeats the Ctrl-C that the terminal has already sent: two this close together are one. */
const SAME_KEYSTROKE_MS = 500;
const PARENT_CHECK_MS = 500;
const ENDED_BY_CTRL_C = 130;
/** How often it is looked whether something was deleted that the cluster needs. */
const FOLDER_CHECK_MS = 500;

/** Why the cluster ends. `failure`: a sentence for the operator; undefined: it was stopped. */
type End = { readonly failure?: string };

/**
 * Runs a cluster until it is stopped or fails. Resolves to the exit code; throws a Refusal when it
 * cannot start.
 */
export async function runCluster(settings: Settings, programs: Programs): Promise<number> {
  const folder = DataFolder.claim(settings.data);
  try {
    refuseTakenPort(settings);
    folder.prepare();
    return await supervise(settings, programs, folder);
  } finally {
    folder.release();
  }
}

async function supervise(
  settings: Settings,
  programs: Programs,
  folder: DataFolder,
): Promise<number> {
  const logger = createLogger("cluster", "cluster", settings.logLevel);
  const ended = Promise.withResolvers<End>();
  const end = () => ended.resolve({});
  const echo = new Echo(settings.logLevel, createLinePrinter());
  const supervisor = new Supervisor(settings, folder.layout, programs, logger, (record) =>
    echo.recordWritten(record),
  );
  endOnSignals(logger, end, () => {
    supervisor.kill();
    folder.release();
    process.exit(ENDED_BY_CTRL_C);
  });
  try {
    serveAdmin(folder.layout.adminSocket, supervisor, end);
    start(supervisor, folder, logger)
      .then(() => {
        echo.clusterIsUp();
        watchFolder(folder, supervisor, logger, end);
      })
      .catch((error: unknown) => {
        if (error instanceof Refusal)
          ended.resolve({ failure: inWordsOf(settings, error.message) });
        else ended.reject(error);
      });
    const { failure } = await ended.promise;
    if (failure !== undefined) process.stderr.write(`${failure}\n`);
    else logger.info("stopping");
    await supervisor.stop();
    return failure === undefined ? 0 : 1;
  } finally {
    supervisor.kill();
  }
}

async function start(supervisor: Supervisor, folder: DataFolder, logger: Logger): Promise<void> {
  await supervisor.start();
  folder.keep();
  const status = await supervisor.status();
  const isTerminal = process.stdout.isTTY === true;
  const screen = startupBanner({
    status,
    dataFolder: folder.path,
    logFolder: folder.layout.logFolder,
    command: process.env.npm_config_user_agent?.startsWith("npm/")
      ? "npm run cluster --"
      : "bun run cluster",
    commandFlags: folder.path === resolve(DEFAULT_DATA) ? "" : ` --data ${quoted(folder.path)}`,
    isTerminal,
  });
  process.stdout.write(screen);
  if (!isTerminal) logger.info({ address: status.address }, "up");
}

/**
 * Looks whether what the cluster needs was deleted, says so at once, and makes it anew. Runs until
 * the process exits.
 */
function watchFolder(
  folder: DataFolder,
  supervisor: Supervisor,
  logger: Logger,
  onStop: () => void,
): void {
  const { adminSocket } = folder.layout;
  let lastMissing = "";
  let lastFailure = "";
  const check = async () => {
    const missing = folder.missing().join(", ");
    if (missing !== "") {
      if (missing !== lastMissing) logger.error(`deleted while the cluster runs: ${missing}`);
      lastMissing = missing;
      folder.restore();
      if (!existsSync(adminSocket)) serveAdmin(adminSocket, supervisor, onStop);
      logger.warn("what was deleted was made anew, but for what was in it");
      lastMissing = "";
    }
    await supervisor.repair();
    lastFailure = "";
  };
  const checkLater = () =>
    setTimeout(() => {
      check()
        .catch((error: unknown) => {
          if (!(error instanceof Error)) throw error;
          if (error.message !== lastFailure) logger.error(error.message);
          lastFailure = error.message;
        })
        .finally(checkLater);
    }, FOLDER_CHECK_MS);
  checkLater();
}

/**
 * Ctrl-C, SIGTERM and a closed terminal stop the cluster gracefully; a second Ctrl-C kills it.
 */
function endOnSignals(logger: Logger, end: () => void, kill: () => void): void {
  let interruptedAtMs: number | undefined;
  process.on("SIGINT", () => {
    const now = performance.now();
    if (interruptedAtMs !== undefined && now - interruptedAtMs > SAME_KEYSTROKE_MS) kill();
    interruptedAtMs ??= now;
    end();
  });
  process.on("SIGTERM", end);
  if (!ignoresHangup()) process.on("SIGHUP", end);
  if (process.env.npm_lifecycle_event === undefined) return;
  // `npm run` and `bun run` can be killed without a signal to us.
  const parent = process.ppid;
  setInterval(() => {
    if (process.ppid === parent) return;
    logger.warn("the command that started this cluster is gone");
    end();
  }, PARENT_CHECK_MS);
}

/** Whether the cluster was started to survive its terminal, as with nohup. */
function ignoresHangup(): boolean {
  const status = "/proc/self/status";
  const ignored = existsSync(status)
    ? /^SigIgn:\s*[0-9a-f]*([0-9a-f])$/m.exec(readFileSync(status, "utf8"))
    : null;
  return ignored !== null && Number.parseInt(ignored[1], 16) % 2 === 1;
}

/**
 * Checked before anything starts: lb workers would not notice, because SO_REUSEPORT lets them share
 * the port.
 */
function refuseTakenPort({ host, port }: Settings): void {
  if (port === 0) return;
  try {
    Bun.listen({ hostname: host, port, socket: { data() {} } }).stop(true);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EADDRINUSE")
      throw new Refusal(
        `Port ${port} of ${host} is in use: ` +
          "stop what listens there, or choose another with --port.",
      );
    const reason = error instanceof Error ? error.message : String(error);
    throw new Refusal(
      `${host}:${port} cannot be listened on (${reason}): choose another --host or --port.`,
    );
  }
}
