// What the operator chose: flags win over the environment, the environment over tutti.config.ts, that over the defaults.
// Pure: the three sources come as plain values, and what cannot be used is refused with a sentence that says where it stands.

import { inspect } from "node:util";
import { parseInteger, UsageError } from "../wire/arguments.ts";
import { LOG_LEVELS, type LogLevel } from "../wire/log.ts";

/** The flags of `cluster start` that are settings, as parseArgs wants them. */
export const SETTING_FLAGS = {
  nodes: { type: "string" },
  host: { type: "string" },
  port: { type: "string" },
  relays: { type: "string" },
  "lb-workers": { type: "string" },
  data: { type: "string" },
  app: { type: "string" },
  open: { type: "boolean" },
  "memory-mb": { type: "string" },
  fsync: { type: "boolean" },
  "log-level": { type: "string" },
} as const;

export type Settings = {
  readonly nodes: number;
  readonly host: string;
  /** 0: the system chooses. */
  readonly port: number;
  readonly relays: number;
  readonly lbWorkers: number;
  /** The data folder. */
  readonly data: string;
  /** The app's file; without one the nodes run the default app. */
  readonly app: string | undefined;
  /** A public host may serve an app that lets everyone in. */
  readonly open: boolean;
  /** Each relay's memory for history. */
  readonly memoryMb: number;
  readonly fsync: boolean;
  readonly logLevel: LogLevel;
};

/** The sources, the winning one first. `fileName` names the config file in complaints. */
export type Sources = {
  readonly flags: Readonly<Record<string, unknown>>;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly file: Readonly<Record<string, unknown>>;
  readonly fileName: string;
};

export const NODES_MAX = 256;
export const DEFAULT_DATA = ".tutti";

/** All settings; throws UsageError for a value or a key of the config file that cannot be used. */
export function settle(sources: Sources): Settings {
  refuseUnknownKeys(sources);
  const pick = <T, D>(flag: string, read: Read<T>, fallback: D): T | D => {
    const found = find(sources, flag);
    return found === undefined ? fallback : read(found.value, found.where);
  };
  return {
    nodes: pick("nodes", wholeNumber(1, NODES_MAX), 2),
    host: pick("host", hostName, "127.0.0.1"),
    port: pick("port", wholeNumber(0, 65_535), 8080),
    relays: pick("relays", wholeNumber(1, 16), 1),
    lbWorkers: pick("lb-workers", wholeNumber(1, 64), 1),
    data: pick("data", filePath, DEFAULT_DATA),
    app: pick("app", filePath, undefined),
    open: pick("open", yesOrNo, false),
    memoryMb: pick("memory-mb", wholeNumber(32, 65_536), 128),
    fsync: pick("fsync", yesOrNo, false),
    logLevel: pick("log-level", logLevel, "info"),
  };
}

/** Whether only this machine can reach the host. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host);
}

/** "lb-workers" → "TUTTI_LB_WORKERS". */
const variableOf = (flag: string): string => `TUTTI_${flag.toUpperCase().replaceAll("-", "_")}`;
/** "lb-workers" → "lbWorkers". */
const keyOf = (flag: string): string => flag.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());

/** An empty environment variable counts as not set: container files write them so. */
function find(
  { flags, environment, file, fileName }: Sources,
  flag: string,
): { value: unknown; where: string } | undefined {
  if (flags[flag] !== undefined) return { value: flags[flag], where: `--${flag}` };
  const variable = variableOf(flag);
  if (environment[variable]) return { value: environment[variable], where: variable };
  const key = keyOf(flag);
  if (file[key] !== undefined) return { value: file[key], where: `${key} in ${fileName}` };
  return undefined;
}

function refuseUnknownKeys({ file, fileName }: Sources): void {
  const known = Object.keys(SETTING_FLAGS).map(keyOf);
  const unknown = Object.keys(file).find((key) => !known.includes(key));
  if (unknown === undefined) return;
  throw new UsageError(`"${unknown}" in ${fileName} is not a setting: use ${known.join(", ")}.`);
}

/** Reads a flag's or variable's text, or a config file's value; `where` names it for the operator. */
type Read<T> = (value: unknown, where: string) => T;

const wholeNumber =
  (min: number, max: number): Read<number> =>
  (value, where) =>
    parseInteger(typeof value === "string" ? value : inspect(value), where, min, max);

const filePath: Read<string> = (value, where) => {
  if (typeof value === "string" && value !== "" && !value.includes("\0")) return value;
  throw new UsageError(`${where} must be the path of a file or folder.`);
};

const hostName: Read<string> = (value, where) => {
  if (
    typeof value === "string" &&
    /^(?:[\w.-]+|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*)$/.test(value) &&
    !/^[^:]*:\d+$/.test(value)
  )
    return value;
  throw new UsageError(
    `${where} "${value}" is not a host: give a name or an address without port, such as 127.0.0.1 or ::1.`,
  );
};

const yesOrNo: Read<boolean> = (value, where) => {
  if (value === true || value === "true" || value === "1") return true;
  if (value === false || value === "false" || value === "0") return false;
  throw new UsageError(`${where} "${value}" must be true or false.`);
};

const logLevel: Read<LogLevel> = (value, where) => {
  const level = LOG_LEVELS.find((known) => known === value);
  if (level !== undefined) return level;
  throw new UsageError(`${where} "${value}" must be one of ${LOG_LEVELS.join(", ")}.`);
};
