// The command line flags of the cluster's processes, from its settings. Pure.

import { formatAddress } from "../../runtime/arguments";
import type { Layout } from "../files/data-folder";
import { isLoopback, type Settings } from "../settings/config";

/** How long a replaced lb lets WebSockets go on, in ms; then it closes them at a pace. */
export const LB_DRAIN_MS = 10 * 60_000;
/** A reconnect costs lb, node and client half a millisecond together: half of each core. */
const DISCONNECTS_PER_CORE = 1000;
/** About the rate at which one lb accepts clients. */
const DISCONNECTS_PER_LB_MAX = 3000;

/** A relay; its address is known once it is ready for the first time. */
type Relay = { readonly id: string; readonly address: string | undefined };

/** `address`: where it served before, which it keeps. */
export function relayFlags(
  { memoryMb, relays, fsync }: Settings,
  layout: Layout,
  { id, address }: Relay,
): string[] {
  return [
    ...["--listen", address ?? "127.0.0.1:0"],
    ...["--data", layout.relayFolder(id)],
    ...["--memory-mb", String(memoryMb), "--relays", String(relays)],
    ...(fsync ? ["--fsync"] : []),
  ];
}

export function nodeFlags(
  { app, host, open, publicHost }: Settings,
  layout: Layout,
  id: string,
  relays: readonly Relay[],
): string[] {
  return [
    ...["--listen", formatAddress({ unix: layout.nodeSocket(id) })],
    ...flagsOf(relays),
    ...(app === undefined ? [] : ["--app", app]),
    ...(isLoopback(host) || open ? [] : ["--require-connect"]),
    ...publicHost.flatMap((name) => ["--public-host", name]),
  ];
}

/**
 * `address`: where the cluster serves, once it is known; `cores`: of the machine. Of equal flags
 * the last counts: the operator's lb flags win over ours, the cluster's own settings over both.
 */
export function lbFlags(
  settings: Settings,
  relays: readonly Relay[],
  address: string | undefined,
  cores: number,
): string[] {
  const { host, port, trust, proxyProtocol, tlsCert, tlsKey, accessLog } = settings;
  const repeated = { "--trust": trust, "--tls-cert": tlsCert, "--tls-key": tlsKey };
  return [
    `--endings-per-second=${disconnectsPerSecond(cores, settings.lbWorkers)}`,
    `--drain-ms=${LB_DRAIN_MS}`,
    ...settings.lbFlags,
    ...Object.entries(repeated).flatMap(([flag, values]) =>
      values.map((value) => `${flag}=${value}`),
    ),
    ...(proxyProtocol ? ["--proxy-protocol"] : []),
    ...(accessLog === undefined ? [] : [`--access-log=${accessLog}`]),
    ...["--listen", address ?? formatAddress({ host, port })],
    ...flagsOf(relays),
    // A successor listens before its predecessor stops to.
    "--reuse-port",
  ];
}

/** How many clients of a dead node each lb disconnects a second: the rate of reconnects. */
const disconnectsPerSecond = (cores: number, lbs: number): number =>
  Math.min(Math.round((DISCONNECTS_PER_CORE * cores) / lbs), DISCONNECTS_PER_LB_MAX);

const flagsOf = (relays: readonly Relay[]): string[] =>
  relays.flatMap(({ id, address }) => ["--relay", `${id}=${address}`]);
