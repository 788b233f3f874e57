import { expect, test } from "bun:test";
import type { ClusterStatus } from "../../src/cluster/report/status.ts";
import { duration, startupBanner, statusTable } from "../../src/cluster/report/status-text.ts";

const since = "2026-01-02T03:04:05.000Z";
const status: ClusterStatus = {
  address: "127.0.0.1:8080",
  scheme: "http",
  processes: [
    { role: "relay", id: "relay-1", pid: 9, state: "up", connections: 11, restarts: 0, since },
    {
      role: "node",
      id: "node-10",
      pid: null,
      state: "restarting",
      connections: 0,
      restarts: 12,
      since,
    },
    { role: "lb", id: "lb-1", pid: 123_456, state: "up", connections: 1234, restarts: 0, since },
  ],
};
const screen = {
  status,
  dataFolder: "/d",
  logFolder: "/d/logs",
  command: "bun run cluster",
  commandFlags: " --data /d",
  isTerminal: false,
};

test("the table is aligned, numbers to the right", () => {
  expect(statusTable(status, Date.parse(since) + 187_000)).toBe(
    `http://127.0.0.1:8080

ROLE   ID          PID  STATE       CONNECTIONS  RESTARTS  UP FOR
relay  relay-1       9  up                   11         0  3 min 7 s
node   node-10       -  restarting            0        12  -
lb     lb-1     123456  up                 1234         0  3 min 7 s
`,
  );
});

test("a cluster that has no address yet is starting", () => {
  expect(statusTable({ ...status, address: null }, 0)).toStartWith("starting\n");
});

test("the screen names the address, the processes, the folders and the ways to go on", () => {
  const text = startupBanner(screen);
  for (const part of [
    "http://127.0.0.1:8080\n",
    "ws://127.0.0.1:8080\n",
    "relay-1  pid 9\n",
    "lb-1     pid 123456\n",
  ])
    expect(text).toContain(part);
  for (const part of [
    "data    /d\n",
    "logs    /d/logs\n",
    "cluster status --data /d\n",
    "cluster stop --data /d\n",
  ])
    expect(text).toContain(part);
  expect(text).not.toContain("\x1b");
  expect(startupBanner({ ...screen, isTerminal: true })).toContain("\x1b[1mtutti is up\x1b[22m");
});

test("a cluster that listens everywhere is shown at an address that a browser here can open", () => {
  const everywhere = startupBanner({ ...screen, status: { ...status, address: "0.0.0.0:80" } });
  expect(everywhere).toContain(
    "http://127.0.0.1:80   (and at every other address of this machine)",
  );
  expect(startupBanner({ ...screen, status: { ...status, address: "[::]:80" } })).toContain(
    "http://[::1]:80",
  );
});

test("with TLS the addresses say so", () => {
  const secure: ClusterStatus = { ...status, scheme: "https" };
  expect(statusTable(secure, 0)).toStartWith("https://127.0.0.1:8080\n");
  const text = startupBanner({ ...screen, status: secure });
  for (const part of ["https://127.0.0.1:8080\n", "wss://127.0.0.1:8080\n"])
    expect(text).toContain(part);
});

test("durations", () => {
  const minute = 60_000;
  expect([0, 59_999, minute, 61 * minute, 25 * 60 * minute].map(duration)).toEqual([
    "0 s",
    "59 s",
    "1 min 0 s",
    "1 h 1 min",
    "1 d 1 h",
  ]);
});
