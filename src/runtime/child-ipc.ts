// The IPC messages between the supervisor and the processes that it starts, and the process's end
// of that channel.

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
import { UsageError } from "./arguments.ts";

export const COUNTED_NODES_MAX = 512;
const tableOfCounts = counts(100);
/**
 * The counters of an lb since it started, by name: in total, and per node. `standing`: the node's
 * admin state. `changedAt`: when its health last changed (ISO 8601).
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
 * The status of a process. `connections`: the clients of a node or lb, the links of a relay.
 * `counters`: of an lb, when the ping asked for them.
 */
export type ChildStatus = Shaped<typeof statusShape>;

/**
 * `ready`: the process serves at `address`. `status`: the reply to `ping`. `fatal`: the process
 * cannot start, with a sentence for the operator.
 */
export type Report =
  | { type: "ready"; address: string }
  | { type: "status"; status: ChildStatus }
  | { type: "fatal"; message: string };

/**
 * `drain`: accept no new clients and disconnect the others gradually. `undrain`: accept clients
 * again. SIGTERM means: drain, then exit.
 */
export type Order = { type: "ping"; counters?: boolean } | { type: "drain" } | { type: "undrain" };

const orderType = oneOf("ping", "drain", "undrain");

/** Decodes an IPC message; undefined when it is not a report. Throws Malformed. */
export function reportIn(value: unknown): Report | undefined {
  if (!isRecord(value)) return undefined;
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
  /** The supervisor asks the process to drain; one that has no clients ignores it. */
  drain(): void;
  undrain(): void;
  /** SIGTERM or SIGINT: stop gracefully, then exit. */
  stop(): void;
};

/** Whether this process was started by a supervisor. */
export const isSupervised = (): boolean => process.send !== undefined;

/** Sends a report to the supervisor, if there is one. */
export function report(message: Report): void {
  if (process.connected) process.send?.(message);
}

/**
 * Handles the supervisor's orders and the signals that stop this process. The process exits as soon
 * as the supervisor is gone, so that no process outlives it.
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

/** Exits a process that cannot start: reports why to the supervisor and on standard error. */
export function failToStart(message: string): never {
  process.stderr.write(`${message}\n`);
  report({ type: "fatal", message });
  process.exit(1);
}

/** Runs a step of the start; a UsageError ends the process with its sentence. */
export function orFailToStart<T>(step: () => T): T {
  try {
    return step();
  } catch (error) {
    if (error instanceof UsageError) failToStart(error.message);
    throw error;
  }
}
