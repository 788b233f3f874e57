// The status of a cluster, as the supervisor reports it to `cluster status`.

import { lbCounters } from "../../runtime/child-ipc";
import {
  integer,
  list,
  nullable,
  object,
  oneOf,
  optional,
  type Shaped,
  text,
} from "../../wire/shape";

const count = integer(0, Number.MAX_SAFE_INTEGER);

/**
 * `restarting`: exited, about to be started again. `failed`: it exits again and again or cannot
 * start; it is started again after longer and longer pauses.
 */
const state = oneOf("starting", "up", "draining", "stopping", "restarting", "failed", "stopped");
export type ProcessState = Shaped<typeof state>;

const role = oneOf("relay", "node", "lb");
export type Role = Shaped<typeof role>;

const processStatus = object({
  role,
  id: text(1, 64),
  /** null while no process runs. */
  pid: nullable(count),
  state,
  /** Clients of a node or an lb, links of a relay. */
  connections: count,
  restarts: count,
  /** When this run was started, as ISO 8601. */
  since: text(1, 40),
  /** Why it is `failed`, as a sentence. */
  reason: optional(text(0, 1000)),
  /** The counters of an lb since this start. */
  counters: optional(lbCounters),
});
export type ProcessStatus = Shaped<typeof processStatus>;

/**
 * `address`: where clients connect; null until the first lb is ready. `scheme`: https where the lbs
 * speak TLS.
 */
export const clusterStatus = object({
  /** The version of the relay protocol that its processes speak; missing before version 2. */
  relayProtocol: optional(count),
  address: nullable(text(1, 255)),
  scheme: oneOf("http", "https"),
  processes: list(processStatus, 1000),
});
export type ClusterStatus = Shaped<typeof clusterStatus>;
