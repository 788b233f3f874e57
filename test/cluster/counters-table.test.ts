import { expect, test } from "bun:test";
import { bytes, countersTable } from "../../src/cluster/report/counters-table.ts";
import type { ClusterStatus } from "../../src/cluster/report/status.ts";
import { type LbCounters, reportIn } from "../../src/runtime/child-ipc.ts";

const since = "2026-01-02T03:04:05.000Z";
const node = (id: string, health: string, counts: Record<string, number>) => ({
  ...{ id, health, standing: "open", changedAt: null, counts },
});

const lb = (id: string, counters: LbCounters | undefined): ClusterStatus["processes"][number] => ({
  ...{ role: "lb", id, pid: 1, state: "up", connections: 0, restarts: 0, since, counters },
});

test("what several lbs have counted is one table, and the most that waited is a maximum", () => {
  const one = {
    total: {
      connections: 1,
      connectionsEver: 10,
      waitingMost: 4,
      clientAborted: 1,
      cookiesNone: 2,
      refusals5xx: 1,
    },
    nodes: [
      node("node-1", "up", {
        ...{
          requests: 9,
          tunnels: 3,
          bytesIn: 1234,
          bytesOut: 5,
          answers2xx: 8,
          clientAborted: 1,
          checksGood: 40,
        },
      }),
    ],
  };
  const other = {
    total: {
      connections: 2,
      connectionsEver: 20,
      waitingMost: 7,
      clientAborted: 2,
      tunnelsNow: 1,
      accessLogLines: 9,
    },
    nodes: [
      node("node-1", "down", {
        requests: 1,
        answers5xx: 1,
        redispatches: 1,
        retries: 1,
        checksFailed: 2,
      }),
      node("node-2", "up", { requests: 2, answers2xx: 2 }),
    ],
  };
  expect(
    countersTable({
      address: null,
      scheme: "http",
      processes: [lb("lb-1", one), lb("lb-2", other)],
    }),
  ).toBe(
    `NODE    HEALTH   REQUESTS  SOCKETS      IN  OUT  2XX  3XX  4XX  5XX  FAILED  RESENT          CHECKS
node-1  up/down        10        3  1.2 kB  5 B    8    0    0    1       1       2  40 good, 2 bad
node-2  up              2        0     0 B  0 B    2    0    0    0       0       0   0 good, 0 bad

clients     3 now, 30 ever, 0 refused, 0 that never sent HTTP
under way   0 requests, 1 sockets
waiting     0 now, 7 at most
answered    0 with 4xx and 1 with 5xx by the lb itself
cookies     none 2, valid 0, invalid 0, down 0, inserted 0
failures    client aborted 3
access log  9 lines, 0 dropped
`,
  );
});

test("without an lb that has told anything it says so", () => {
  expect(countersTable({ address: null, scheme: "http", processes: [lb("lb-1", undefined)] })).toBe(
    "No lb has reported its counters.\n",
  );
});

test("bytes in units", () => {
  expect([0, 999, 1000, 12_345, 1e6, 2.5e9, 7e15].map(bytes)).toEqual([
    ...["0 B", "999 B", "1.0 kB", "12.3 kB", "1.0 MB", "2.5 GB", "7000.0 TB"],
  ]);
});

test("counters come over IPC in bounds, or not at all", () => {
  const report = (counters: unknown) =>
    reportIn({ type: "status", status: { state: "up", connections: 1, counters } });
  const counters = { total: { requests: 1 }, nodes: [node("a", "up", { requests: 1 })] };
  expect(report(counters)).toEqual({
    type: "status",
    status: { state: "up", connections: 1, counters },
  });
  expect(report(undefined)).toEqual({ type: "status", status: { state: "up", connections: 1 } });
  expect(() => report({ total: { requests: -1 }, nodes: [] })).toThrow("whole number");
  expect(() => report({ total: {}, nodes: Array(513).fill(counters.nodes[0]) })).toThrow(
    "at most 512",
  );
  const tooMany = Object.fromEntries(Array.from({ length: 101 }, (_, n) => [`n${n}`, n]));
  expect(() => report({ total: tooMany, nodes: [] })).toThrow("at most 100");
});
