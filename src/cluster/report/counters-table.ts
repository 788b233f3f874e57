// The text of `cluster status --counters`: the counters of all lbs together. Pure.

import type { LbCounters } from "../../runtime/child-ipc";
import type { ClusterStatus } from "./status";
import { table } from "./status-text";

type Count = (name: string) => number;
type CountedNode = LbCounters["nodes"][number];

const FAILURES = [
  ...[
    "clientAborted",
    "clientTimeout",
    "noNode",
    "queueTimeout",
    "queueFull",
    "connectRefused",
    "connectTimeout",
  ],
  ...["responseTimeout", "earlyClose", "badRequest", "badAnswer", "limited", "stopped"],
] as const;

/**
 * A table with a line per node, then the counters of the lbs themselves.
 */
export function countersTable({ processes }: ClusterStatus): string {
  const lbs = processes.flatMap(({ counters }) => counters ?? []);
  if (lbs.length === 0) return "No lb has reported its counters.\n";
  const total: Count = (name) => sum(lbs.map((lb) => lb.total[name] ?? 0));
  const head = [
    "NODE",
    "HEALTH",
    "REQUESTS",
    "SOCKETS",
    "IN",
    "OUT",
    "2XX",
    "3XX",
    "4XX",
    "5XX",
    "FAILED",
    "RESENT",
    "CHECKS",
  ];
  const rows = [...nodesOf(lbs)]
    .sort(([one], [other]) => byNumber(one, other))
    .map(([id, views]) => nodeRow(id, views));
  const numbers = head.map((_, column) => column).slice(2);
  const failed = FAILURES.filter((name) => total(name) > 0).map(
    (name) => `${words(name)} ${total(name)}`,
  );
  const lines = [
    [
      "clients",
      `${total("connections")} now, ${total("connectionsEver")} ever, ` +
        `${total("connectionsRefused")} refused, ${total("arrivalsFailed")} that never sent HTTP`,
    ],
    ["under way", `${total("exchangesNow")} requests, ${total("tunnelsNow")} sockets`],
    [
      "waiting",
      `${total("waiting")} now, ${Math.max(...lbs.map((lb) => lb.total.waitingMost ?? 0))} at most`,
    ],
    [
      "answered",
      `${total("refusals4xx")} with 4xx and ${total("refusals5xx")} with 5xx by the lb itself`,
    ],
    [
      "cookies",
      ["none", "valid", "invalid", "down", "inserted"]
        .map((kind) => cookies(kind, total))
        .join(", "),
    ],
    ["failures", failed.length === 0 ? "none" : failed.join(", ")],
  ];
  if (lbs.some((lb) => lb.total.accessLogLines !== undefined))
    lines.push([
      "access log",
      `${total("accessLogLines")} lines, ${total("accessLogDropped")} dropped`,
    ]);
  return `${table([head, ...rows], numbers).join("\n")}\n\n${table(lines).join("\n")}\n`;
}

const cookies = (kind: string, total: Count): string =>
  `${kind} ${total(`cookies${kind[0].toUpperCase()}${kind.slice(1)}`)}`;

function nodesOf(lbs: readonly LbCounters[]): Map<string, CountedNode[]> {
  const byId = new Map<string, CountedNode[]>();
  for (const node of lbs.flatMap((lb) => lb.nodes)) {
    const views = byId.get(node.id);
    if (views === undefined) byId.set(node.id, [node]);
    else views.push(node);
  }
  return byId;
}

/** The row of one node, summed over all lbs. */
function nodeRow(id: string, views: readonly CountedNode[]): string[] {
  const count: Count = (name) => sum(views.map(({ counts }) => counts[name] ?? 0));
  const health = [...new Set(views.map((view) => view.health))].join("/");
  const failed = sum(FAILURES.map(count));
  return [
    ...[id, health, String(count("requests")), String(count("tunnels"))],
    ...[bytes(count("bytesIn")), bytes(count("bytesOut"))],
    ...["answers2xx", "answers3xx", "answers4xx", "answers5xx"].map((name) => String(count(name))),
    ...[String(failed), String(count("retries") + count("redispatches"))],
    `${count("checksGood")} good, ${count("checksFailed")} bad`,
  ];
}

/** node-2 before node-10. */
const byNumber = (one: string, other: string): number =>
  one.localeCompare(other, "en", { numeric: true });

const sum = (numbers: readonly number[]): number =>
  numbers.reduce((sofar, next) => sofar + next, 0);

/** "clientAborted" → "client aborted". */
const words = (name: string): string =>
  name.replace(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);

const UNITS = ["B", "kB", "MB", "GB", "TB"];

/** "999 B", "12.3 kB". */
export function bytes(count: number): string {
  let size = count;
  let unit = 0;
  for (; size >= 1000 && unit < UNITS.length - 1; unit++) size /= 1000;
  return `${unit === 0 ? size : size.toFixed(1)} ${UNITS[unit]}`;
}
