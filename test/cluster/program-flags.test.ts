// The flags that the cluster's settings become, by process.

import { expect, test } from "bun:test";
import { type Layout, layout } from "../../src/cluster/files/data-folder.ts";
import { resolveSettings, type Settings } from "../../src/cluster/settings/config.ts";
import {
  LB_DRAIN_MS,
  lbFlags,
  nodeFlags,
  relayFlags,
} from "../../src/cluster/supervision/program-flags.ts";
import { parseOptions } from "../../src/lb/options.ts";

const FOLDER: Layout = layout("/data");
const RELAYS = [
  { id: "relay-1", address: "127.0.0.1:7001" },
  { id: "relay-2", address: "127.0.0.1:7002" },
];
const settings = (flags: Readonly<Record<string, unknown>> = {}): Settings =>
  resolveSettings({ flags, environment: {}, file: {}, fileName: "" });
/** The flags as the lb reads them. */
const lb = (flags?: Readonly<Record<string, unknown>>, cores = 2) =>
  parseOptions([...lbFlags(settings(flags), [], undefined, cores), "--upstream", "127.0.0.1:1"])
    ?.numbers;

test("a relay keeps the address that it had", () => {
  const flags = (address?: string) =>
    relayFlags(settings({ fsync: true }), FOLDER, { id: "relay-1", address });
  expect(flags()).toContain("127.0.0.1:0");
  expect(flags("127.0.0.1:7001")).toContain("127.0.0.1:7001");
  expect(flags()).toContain("--fsync");
});

test("a node knows every relay, and lets no one in by default where strangers can reach it", () => {
  const flags = (some: Readonly<Record<string, unknown>>) =>
    nodeFlags(settings(some), FOLDER, "node-1", RELAYS);
  expect(flags({})).toContain("relay-2=127.0.0.1:7002");
  expect(flags({})).not.toContain("--require-connect");
  expect(flags({ host: "0.0.0.0" })).toContain("--require-connect");
  expect(flags({ host: "0.0.0.0", open: true })).not.toContain("--require-connect");
});

test("a drained lb keeps WebSockets for as long as the supervisor keeps the lb", () => {
  expect(lb()?.drainMs).toBe(LB_DRAIN_MS);
  expect(lb({ "lb-flags": "--drain-ms 500" })?.drainMs).toBe(500);
});

test("the clients of a dead node return at the rate of the machine, shared by the lbs", () => {
  expect(lb()?.endingsPerSecond).toBe(2000);
  expect(lb({ "lb-workers": "4" })?.endingsPerSecond).toBe(500);
  expect(lb({}, 64)?.endingsPerSecond).toBe(3000);
});
