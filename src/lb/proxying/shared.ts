// What all connections of one lb have in common. Passed to each instead of a dozen arguments; it
// decides nothing.

import type { PacedQueue } from "../net/pace.ts";
import type { Options } from "../options.ts";
import type { AccessLog } from "../telemetry/access-log.ts";
import type { Dispatcher } from "../upstreams/dispatch.ts";
import type { Pool } from "../upstreams/pool.ts";
import type { DialPort } from "./upstream.ts";

/** A client connection or a tunnel: one entry in the sweep that watches every deadline. */
export interface Live {
  /** When `expired` is due, by the lb's clock; Infinity: never. */
  expiresMs: number;
  expired(): void;
  /** The lb stops: end as soon as can be. */
  stop(): void;
  /** It has had its time to: what is under way is over now. */
  cut?(): void;
}

export type Shared = {
  readonly options: Options;
  /** Coarse: moved on by the sweep, so that reading it costs nothing. */
  readonly clock: { nowMs: number };
  readonly pool: Pool;
  readonly dispatcher: Dispatcher;
  readonly dials: DialPort;
  /** Where clients' sides of tunnels end because the nodes' sides have. */
  readonly endings: PacedQueue;
  readonly live: Set<Live>;
  /** Undefined: there is none. */
  readonly accessLog: AccessLog | undefined;
  /** Our pseudonym in Via. */
  readonly via: string;
  /** Where we listen, as a Host. */
  readonly ownHost: string;
};
