// The text that the operator sees: the startup banner and the table of `cluster status`. Pure.

import type { ClusterStatus, ProcessStatus } from "./status";

export type StartupBanner = {
  readonly status: ClusterStatus;
  readonly dataFolder: string;
  readonly logFolder: string;
  /** The command line of the cluster: "bun run cluster" or "npm run cluster --". */
  readonly command: string;
  /** The flags that identify this cluster: "" for the default folder. */
  readonly commandFlags: string;
  readonly isTerminal: boolean;
};

/** The text that a cluster prints once it is ready. */
export function startupBanner({
  status,
  dataFolder,
  logFolder,
  command,
  commandFlags,
  isTerminal,
}: StartupBanner): string {
  const bold = (text: string) => (isTerminal ? `\x1b[1m${text}\x1b[22m` : text);
  const address = reachable(status.address ?? "");
  const everywhere =
    address === status.address ? "" : `   (and at every other address of this machine)`;
  const processes = table(status.processes.map(({ role, id, pid }) => [role, id, `pid ${pid}`]));
  return [
    "",
    `  ${bold("tutti is up")}`,
    "",
    `  ${bold(`${status.scheme}://${address}`)}${everywhere}`,
    `  ${bold(`${status.scheme === "https" ? "wss" : "ws"}://${address}`)}`,
    "",
    ...processes.map((line) => `  ${line}`),
    "",
    `  data    ${dataFolder}`,
    `  logs    ${logFolder}`,
    `  status  ${command} status${commandFlags}`,
    `  stop    Ctrl-C, or ${command} stop${commandFlags}`,
    "",
    "",
  ].join("\n");
}

/** The table of `cluster status`. */
export function statusTable({ address, scheme, processes }: ClusterStatus, nowMs: number): string {
  const head = ["ROLE", "ID", "PID", "STATE", "CONNECTIONS", "RESTARTS", "UP FOR"];
  const numbers = [2, 4, 5];
  const rows = processes.map((row) => [
    row.role,
    row.id,
    String(row.pid ?? "-"),
    row.state,
    String(row.connections),
    String(row.restarts),
    upFor(row, nowMs),
  ]);
  const reasons = processes.flatMap(({ reason }) => (reason === undefined ? [] : ["", reason]));
  const lines = [...table([head, ...rows], numbers), ...reasons];
  const where = address === null ? "starting" : `${scheme}://${reachable(address)}`;
  return `${where}\n\n${lines.join("\n")}\n`;
}

function upFor({ pid, since }: ProcessStatus, nowMs: number): string {
  return pid === null ? "-" : duration(Math.max(0, nowMs - Date.parse(since)));
}

/** "45 s", "3 min 7 s", "2 h 5 min", "4 d 1 h". */
export function duration(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  if (seconds < 86_400)
    return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  return `${Math.floor(seconds / 86_400)} d ${Math.floor((seconds % 86_400) / 3600)} h`;
}

/**
 * An address that a browser on this machine can open; a wildcard address becomes loopback.
 */
function reachable(address: string): string {
  return address.replace(/^0\.0\.0\.0:/, "127.0.0.1:").replace(/^\[::\]:/, "[::1]:");
}

/** Rows of cells as lines with aligned columns; columns in `toTheRight` are right-aligned. */
export function table(
  rows: readonly (readonly string[])[],
  toTheRight: readonly number[] = [],
): string[] {
  const widths = (rows[0] ?? []).map((_, column) =>
    Math.max(...rows.map((row) => row[column].length)),
  );
  const pad = (cell: string, column: number) =>
    toTheRight.includes(column) ? cell.padStart(widths[column]) : cell.padEnd(widths[column]);
  return rows.map((row) => row.map(pad).join("  ").trimEnd());
}
