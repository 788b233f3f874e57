// Formats one line of the access log. Pure. Of a target only the path is logged, because tokens
// travel in the query.

/** An exchange, or a connection that was refused before one; undefined: not reached. */
export type AccessRecord = {
  /** When its first byte arrived, in ms since 1970. */
  readonly timeMs: number;
  readonly client: string | undefined;
  readonly method: string | undefined;
  readonly target: string | undefined;
  readonly version: string | undefined;
  /** 0: no response. */
  readonly status: number;
  readonly node: string | undefined;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly headMs: number | undefined;
  readonly queueMs: number | undefined;
  readonly connectMs: number | undefined;
  readonly responseMs: number | undefined;
  readonly totalMs: number;
  readonly retries: number;
  /** Of the WebSocket close frames that the client and the node sent (RFC 6455, 7.4). */
  readonly closeClient: number | undefined;
  readonly closeNode: number | undefined;
  /** Four letters: who ended it, when, the sticky cookie that came, whether one was given. */
  readonly end: string;
};

/** Where records go, and the clocks for their times. */
export type AccessLog = {
  /** A monotonic clock, in ms. */
  now(): number;
  /** Ms since 1970. */
  time(): number;
  write(record: AccessRecord): void;
  /** Lines written, and lines dropped. */
  readonly lines: number;
  readonly dropped: number;
};

const TARGET_CHARACTERS_MAX = 2048;

/** The line of a record, with its line feed. `lb`: the writing lb. */
export function accessLine(lb: string, record: AccessRecord): string {
  const {
    timeMs,
    client = null,
    method = null,
    target,
    version = null,
    status,
    node = null,
  } = record;
  const { bytesIn, bytesOut, retries, end, closeClient = null, closeNode = null } = record;
  const line = JSON.stringify({
    ...{ time: new Date(timeMs).toISOString(), lb, client, method },
    target: target === undefined ? null : pathOf(target),
    ...{ version, status: status === 0 ? null : status, node, bytesIn, bytesOut },
    headMs: rounded(record.headMs),
    queueMs: rounded(record.queueMs),
    connectMs: rounded(record.connectMs),
    responseMs: rounded(record.responseMs),
    totalMs: rounded(record.totalMs),
    ...{ retries, end, closeClient, closeNode },
  });
  return `${line.replace(OTHER_CONTROLS, escaped)}\n`;
}

/** The path of a target in any form, truncated. Without query, fragment, user and password. */
export function pathOf(target: string): string {
  const path = target.replace(/[?#].*$/s, "").replace(/^[a-z][a-z0-9+.-]*:\/\/[^/]*/i, "");
  return path.length <= TARGET_CHARACTERS_MAX ? path : `${path.slice(0, TARGET_CHARACTERS_MAX)}…`;
}

/**
 * Control characters that JSON permits and a terminal may interpret, and line ends other than LF.
 */
const OTHER_CONTROLS = /[\x7f-\x9f\u2028\u2029]/g;
const escaped = (character: string): string =>
  `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;

const rounded = (ms: number | undefined): number | null =>
  ms === undefined ? null : Math.round(ms * 10) / 10;
