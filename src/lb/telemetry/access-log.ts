// One line of the access log from what is known of one exchange. Pure. What must not get into a log
// does not get here: of a target only its path is kept, for tokens travel in what follows the
// question mark.

/** An exchange, or a connection that was refused before one; undefined: it did not come to that. */
export type AccessRecord = {
  /** When its first byte came, in ms since 1970. */
  readonly timeMs: number;
  readonly client: string | undefined;
  readonly method: string | undefined;
  readonly target: string | undefined;
  readonly version: string | undefined;
  /** 0: there was no answer. */
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

/** Where records go, and the clocks they are measured by. */
export type AccessLog = {
  /** A clock that only goes forward, in ms. */
  now(): number;
  /** Ms since 1970. */
  time(): number;
  write(record: AccessRecord): void;
  /** Lines written, and lines lost. */
  readonly lines: number;
  readonly dropped: number;
};

const TARGET_CHARACTERS_MAX = 2048;

/** The line of a record, its line feed included. `lb`: who writes it. */
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

/**
 * The path of a target in any form, cut where it gets too long. No query, fragment, user or
 * password.
 */
export function pathOf(target: string): string {
  const path = target.replace(/[?#].*$/s, "").replace(/^[a-z][a-z0-9+.-]*:\/\/[^/]*/i, "");
  return path.length <= TARGET_CHARACTERS_MAX ? path : `${path.slice(0, TARGET_CHARACTERS_MAX)}…`;
}

/** Controls that JSON lets pass and a terminal may obey, and line ends other than LF. */
const OTHER_CONTROLS = /[\x7f-\x9f\u2028\u2029]/g;
const escaped = (character: string): string =>
  `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;

const rounded = (ms: number | undefined): number | null =>
  ms === undefined ? null : Math.round(ms * 10) / 10;
