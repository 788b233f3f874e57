// Reads the command line of every process of the cluster: strict flags, and one sentence for the
// operator about an argument that cannot be used.

import { readFileSync } from "node:fs";
import { type ParseArgsConfig, parseArgs } from "node:util";
import type { RelayAddress } from "./link.ts";
import { LOG_LEVELS, type LogLevel } from "./log.ts";

/** An argument or setting cannot be used; the message says why and what to do. */
export class UsageError extends Error {
  override name = "UsageError";
}

/** Runs a step of a process's start; a failure becomes a UsageError that begins with `what`. */
export function orRefuse<T>(what: string, step: () => T): T {
  try {
    return step();
  } catch (error) {
    throw new UsageError(`${what}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** parseArgs with its errors as UsageErrors; `help` is appended to the message. */
export function parseCommandLine<T extends ParseArgsConfig>(
  config: T,
  help: string,
): ReturnType<typeof parseArgs<T & { strict: true }>> {
  try {
    return parseArgs({ ...config, strict: true });
  } catch (error) {
    const complaint = error instanceof Error ? error.message : String(error);
    // Node appends advice on positionals that begin with a dash, which no command takes.
    const [sentence] = complaint.replaceAll("\n", " ").split(". To specify a positional ");
    throw new UsageError(`${sentence.replace(/\.*$/, ".")}\n\n${help}`);
  }
}

/** Where a process listens: TCP, or a unix socket. */
export type Address = { readonly host: string; readonly port: number } | { readonly unix: string };

/** Reads "host:port", "[v6]:port" or "unix:/path". */
export function parseAddress(text: string, flag: string): Address {
  if (text.startsWith("unix:")) return { unix: unixPath(text.slice(5), flag) };
  return parseTcpAddress(text, flag);
}

/** Reads "host:port" or "[v6]:port"; port 0 lets the system choose. */
export function parseTcpAddress(text: string, flag: string): RelayAddress {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]\s]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  if (match === null || port > 65535)
    throw new UsageError(
      `${flag} "${text}" is not an address: write host:port, such as 127.0.0.1:8080.`,
    );
  return { host: match[1] ?? match[2], port };
}

const UNIX_PATH_BYTES_MAX = 107;

/** A unix socket's path, refused where the system could not bind it (sun_path, unix(7)). */
export function unixPath(path: string, flag: string): string {
  if (path !== "" && Buffer.byteLength(path) <= UNIX_PATH_BYTES_MAX) return path;
  throw new UsageError(
    `${flag}: the socket path "${path}" is longer than ${UNIX_PATH_BYTES_MAX} bytes: ` +
      "choose a shorter --data folder.",
  );
}

export function formatAddress(address: Address): string {
  if ("unix" in address) return `unix:${address.unix}`;
  return address.host.includes(":")
    ? `[${address.host}]:${address.port}`
    : `${address.host}:${address.port}`;
}

/**
 * One relay of the cluster. The order of relays must be the same in every process, because it
 * decides which relay owns a channel.
 */
export type NamedRelay = { readonly id: string; readonly address: RelayAddress };

/** Reads the values of a repeated `--relay id=host:port`. */
export function parseRelays(values: readonly string[]): NamedRelay[] {
  return values.map((value) => {
    const equals = value.indexOf("=");
    if (equals < 1)
      throw new UsageError(
        `--relay "${value}" must be id=host:port, such as relay-1=127.0.0.1:4001.`,
      );
    return {
      id: value.slice(0, equals),
      address: parseTcpAddress(value.slice(equals + 1), "--relay"),
    };
  });
}

export function parseInteger(text: string, flag: string, min: number, max: number): number {
  const value = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  throw new UsageError(`${flag} "${text}" must be a whole number from ${min} to ${max}.`);
}

export function parseLogLevel(text: string): LogLevel {
  const level = LOG_LEVELS.find((known) => known === text);
  if (level !== undefined) return level;
  throw new UsageError(`--log-level "${text}" must be one of ${LOG_LEVELS.join(", ")}.`);
}

const SECRET_CHARACTERS_MIN = 16;

/** Reads the cluster secret from a file, without surrounding white space. */
export function readSecret(path: string): string {
  let secret: string;
  try {
    secret = readFileSync(path, "utf8").trim();
  } catch (error) {
    throw new UsageError(
      `--secret-file ${path} cannot be read: ${error instanceof Error ? error.message : error}`,
    );
  }
  if (secret.length >= SECRET_CHARACTERS_MIN) return secret;
  throw new UsageError(
    `--secret-file ${path} must hold at least ${SECRET_CHARACTERS_MIN} characters.`,
  );
}
