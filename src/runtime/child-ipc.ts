// What a process of the cluster and its supervisor say to each other over Bun's IPC, and the
// process's end of it.

import {
  counts,
  integer,
  isRecord,
  list,
  nullable,
  object,
  oneOf,
  optional,
  type Shaped,
  text,
} from "../wire/shape.ts";

export const COUNTED_NODES_MAX = 512;
const tableOfCounts = counts(100);
/**
 * What an lb has counted since it started, by name: in all, and of each node. `changedAt`: when its
 * health changed last (ISO 8601).
 */
export const lbCounters = object({
  total: tableOfCounts,
  nodes: list(
    object({
      id: text(1, 255),
      health: text(1, 32),
      standing: text(1, 32),
      changedAt: nullable(text(1, 40)),
      counts: tableOfCounts,
    }),
    COUNTED_NODES_MAX,
  ),
});
export type LbCounters = Shaped<typeof lbCounters>;

const statusShape = object({
  state: oneOf("starting", "up", "draining"),
  connections: integer(0, Number.MAX_SAFE_INTEGER),
  counters: optional(lbCounters),
});
/**
 * How a process is: `connections` are a node's or lb's clients, a relay's links. An lb adds its
 * counters when asked for them.
 */
export type ChildStatus = Shaped<typeof statusShape>;

/**
 * `progress`: still starting, and not hanging. `ready`: serving, at `address`. `status`: the answer to `ping`. `fatal`: cannot start, with a
 * sentence for the operator.
 */
export type Report =
  | { type: "progress" }
  | { type: "ready"; address: string }
  | { type: "status"; status: ChildStatus }
  | { type: "fatal"; message: string };

/**
 * `drain`: take no new clients, send the others away kindly. `undrain`: back to work. SIGTERM
 * means: drain, then exit.
 */
export type Order = { type: "ping"; counters?: boolean } | { type: "drain" } | { type: "undrain" };

const orderType = oneOf("ping", "drain", "undrain");

/** The report in an IPC message; undefined for anything else. */
export function reportIn(value: unknown): Report | undefined {
  if (!isRecord(value)) return undefined;
  if (value.type === "progress") return { type: "progress" };
  if (value.type === "ready")
    return { type: "ready", address: text(0, 255)(value.address, "address") };
  if (value.type === "status")
    return { type: "status", status: statusShape(value.status, "status") };
  if (value.type === "fatal")
    return { type: "fatal", message: text(0, 10_000)(value.message, "message") };
  return undefined;
}

export type Supervised = {
  status(withCounters: boolean): ChildStatus;
  /** Asked by the supervisor; a process that cannot drain ignores it. */
  drain(): void;
  undrain(): void;
  /** SIGTERM or SIGINT: finish in order, then exit. */
  stop(): void;
};

/** Whether this process was started by a supervisor. */
export const isSupervised = (): boolean => process.send !== undefined;

/** Sends a report to the supervisor, if there is one. */
export function report(message: Report): void {
  if (process.connected) process.send?.(message);
}

/**
 * Ties this process to its supervisor and to the signals that stop it. When the supervisor is gone
 * the process exits at once: nothing of the cluster outlives it.
 */
export function obeySupervisor(child: Supervised): void {
  process.on("SIGTERM", () => child.stop());
  process.on("SIGINT", () => {
    if (!isSupervised()) child.stop();
  });
  if (!isSupervised()) return;
  process.on("disconnect", () => process.exit(0));
  process.on("message", (value: unknown) => {
    if (!isRecord(value)) return;
    const type = orderType(value.type, "type");
    if (type === "ping") report({ type: "status", status: child.status(value.counters === true) });
    else if (type === "drain") child.drain();
    else child.undrain();
  });
}

/**
 * Ends a process that cannot start, with one sentence on standard error (and its stack, where the
 * sentence is not enough).
 */
export function failToStart(message: string): never {
  process.stderr.write(`${message}\n`);
  report({ type: "fatal", message });
  process.exit(1);
}
