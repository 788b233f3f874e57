// What the connections of one lb share: passed to each instead of a dozen arguments. It decides
// nothing.

import type { CookiePolicy } from "../http/cookie.ts";
import type { HttpDate } from "../http/date.ts";
import type { WriteBuffer } from "../net/byte-sink.ts";
import type { Expiring } from "../net/expiring.ts";
import type { PacedQueue } from "../net/pace.ts";
import type { SocketCallbacks } from "../net/socket-owner.ts";
import type { Trust } from "../net/trust.ts";
import type { AccessLog } from "../telemetry/access-log.ts";
import type { Dispatcher, Lease } from "../upstreams/dispatch.ts";
import type { Pool } from "../upstreams/pool.ts";

/** The part of the lb's options that proxying obeys. */
export type ProxyOptions = {
  /** Undefined: no sticky cookie. */
  readonly cookie: CookiePolicy | undefined;
  readonly trust: Trust;
  /** The path that the lb answers itself; undefined: none. */
  readonly healthPath: string | undefined;
  readonly numbers: {
    readonly headBytesMax: number;
    readonly targetBytesMax: number;
    readonly headFieldsMax: number;
    readonly bodyBytesMax: number;
    readonly headTimeoutMs: number;
    readonly bodyTimeoutMs: number;
    readonly keepAliveTimeoutMs: number;
    readonly queueTimeoutMs: number;
    readonly connectTimeoutMs: number;
    readonly responseTimeoutMs: number;
    readonly tunnelTimeoutMs: number;
    readonly halfClosedTimeoutMs: number;
    readonly stallTimeoutMs: number;
  };
};

/** What a dial needs of the rest of the lb. */
export type DialPort = {
  readonly callbacks: SocketCallbacks;
  /** A dial failed with a system error: the node may be dead. */
  dialFailed(lease: Lease, code: string): void;
  /** A node has answered on a fresh connection, which proves others accepted. */
  nodeAnswered(): void;
  /** Sockets to nodes that exist or are being dialed. */
  upstreams: number;
};

export type LoadBalancerContext = {
  readonly options: ProxyOptions;
  /** Coarse: the sweep moves it on, so that reading it costs nothing. */
  readonly clock: { nowMs: number };
  readonly date: HttpDate;
  readonly pool: Pool;
  readonly dispatcher: Dispatcher;
  readonly dials: DialPort;
  /** Paces the end of client connections whose nodes have disconnected. */
  readonly disconnects: PacedQueue;
  readonly expiring: Set<Expiring>;
  /** Where the head of one request is written at a time, before it is copied. */
  readonly headBuffer: WriteBuffer;
  /** Undefined: there is none. */
  readonly accessLog: AccessLog | undefined;
  /** This lb's pseudonym in Via. */
  readonly via: string;
  /** Where this lb listens, as a Host. */
  readonly ownHost: string;
};
