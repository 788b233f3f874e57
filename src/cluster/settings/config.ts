// The settings of a cluster: flags override the environment, which overrides tutti.config.ts, which
// overrides the defaults. Pure: the sources come as plain values. A bad value is refused with a
// sentence that names its source.

import { inspect } from "node:util";
import { parseInteger, UsageError } from "../../runtime/arguments";
import { LOG_LEVELS, type LogLevel } from "../../runtime/log";
import { isRecord } from "../../wire/shape";
import { nearest } from "./nearest";

/** The settings among the flags of `cluster start`, in the form of parseArgs. */
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
  "public-host": { type: "string", multiple: true },
  trust: { type: "string", multiple: true },
  "proxy-protocol": { type: "boolean" },
  "tls-cert": { type: "string", multiple: true },
  "tls-key": { type: "string", multiple: true },
  "access-log": { type: "string" },
  "lb-flags": { type: "string" },
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
  /** The app's file; undefined: the default app. */
  readonly app: string | undefined;
  /** Whether a public host may serve an app that lets everyone in. */
  readonly open: boolean;
  /** Each relay's memory for history. */
  readonly memoryMb: number;
  readonly fsync: boolean;
  readonly logLevel: LogLevel;
  /** Hosts that pages connect to; none: whatever the Host header says. */
  readonly publicHost: readonly string[];
  /** Networks of proxies whose X-Forwarded-* is trusted. */
  readonly trust: readonly string[];
  /** These proxies send a PROXY header. */
  readonly proxyProtocol: boolean;
  /** PEM files, a key for each certificate; none: no TLS. */
  readonly tlsCert: readonly string[];
  readonly tlsKey: readonly string[];
  /** The file of the access log; undefined: none. */
  readonly accessLog: string | undefined;
  /** Further arguments of every lb. */
  readonly lbFlags: readonly string[];
  /** Where a setting comes from, by flag, unless it is the flag: "TUTTI_TRUST". */
  readonly origins: Readonly<Record<string, string>>;
};

/** The sources, the strongest first. `fileName` names the config file in errors. */
export type Sources = {
  readonly flags: Readonly<Record<string, unknown>>;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly file: Readonly<Record<string, unknown>>;
  readonly fileName: string;
};

export const NODES_MAX = 256;
export const DEFAULT_DATA = ".tutti";

/** All settings; throws UsageError for a bad value or an unknown variable or key. */
export function resolveSettings(sources: Sources): Settings {
  refuseUnknownVariables(sources);
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
    publicHost: pick("public-host", texts, []),
    trust: pick("trust", texts, []),
    proxyProtocol: pick("proxy-protocol", yesOrNo, false),
    tlsCert: pick("tls-cert", texts, []),
    tlsKey: pick("tls-key", texts, []),
    accessLog: pick("access-log", accessLogFile, undefined),
    lbFlags: pick("lb-flags", lbFlags, []),
    origins: originsOf(sources),
  };
}

/** Whether only this machine can reach the host. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host);
}

/**
 * A sentence of a process about one of its flags, about the setting that the operator made: a bad
 * TUTTI_TRUST is no bad --trust. A usage text that follows the sentence stays as it is.
 */
export function inWordsOf({ origins }: Settings, sentence: string): string {
  const [first, ...rest] = sentence.split("\n\n");
  const named = first.replace(/--([a-z][a-z-]*)/g, (flag, name: string) => origins[name] ?? flag);
  return [named, ...rest].join("\n\n");
}

function originsOf(sources: Sources): Record<string, string> {
  const origins: Record<string, string> = {};
  for (const flag of Object.keys(SETTING_FLAGS)) {
    const where = find(sources, flag)?.where;
    if (where !== undefined && where !== `--${flag}`) origins[flag] = where;
  }
  return origins;
}

/** Each setting's flag, variable and key of the config file, in that order. */
export const settingNames = (): string[][] =>
  Object.keys(SETTING_FLAGS).map((flag) => [`--${flag}`, variableOf(flag), keyOf(flag)]);

const PREFIX = "TUTTI_";
/** "lb-workers" → "TUTTI_LB_WORKERS". */
const variableOf = (flag: string): string => `${PREFIX}${flag.toUpperCase().replaceAll("-", "_")}`;
/** "lb-workers" → "lbWorkers". */
const keyOf = (flag: string): string =>
  flag.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());

/** An empty environment variable counts as unset: container files define them empty. */
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

/** Variables that look like none of ours are the environment's, such as TUTTI_SERVICE_HOST. */
function refuseUnknownVariables({ environment }: Sources): void {
  const known = [...Object.keys(SETTING_FLAGS).map(variableOf), `${PREFIX}CONFIG`];
  for (const [variable, value] of Object.entries(environment)) {
    if (!variable.startsWith(PREFIX) || known.includes(variable) || !value) continue;
    const bare = (name: string) => name.slice(PREFIX.length);
    const meant = nearest(bare(variable), known.map(bare));
    if (meant !== undefined)
      throw new UsageError(
        `${variable} is not a variable of tutti: did you mean ${PREFIX}${meant}?`,
      );
  }
}

function refuseUnknownKeys({ file, fileName }: Sources): void {
  const known = Object.keys(SETTING_FLAGS).map(keyOf);
  const unknown = Object.keys(file).find((key) => !known.includes(key));
  if (unknown === undefined) return;
  const meant = nearest(unknown, known);
  const advice = meant === undefined ? `use ${known.join(", ")}.` : `did you mean ${meant}?`;
  throw new UsageError(`"${unknown}" in ${fileName} is not a setting: ${advice}`);
}

/**
 * Reads a flag's or variable's text, or a config file's value; `where` names it for the operator.
 */
type Read<T> = (value: unknown, where: string) => T;

const wholeNumber =
  (min: number, max: number): Read<number> =>
  (value, where) =>
    parseInteger(typeof value === "string" ? value : inspect(value), where, min, max);

const filePath: Read<string> = (value, where) => {
  if (typeof value === "string" && value !== "" && !value.includes("\0")) return value;
  throw new UsageError(`${where} must be the path of a file or folder.`);
};

/** A flag that was repeated, an array of the config file, or one text with commas. */
const texts: Read<readonly string[]> = (value, where) => {
  const parts: unknown =
    typeof value === "string" ? value.split(",").map((part) => part.trim()) : value;
  if (
    Array.isArray(parts) &&
    parts.every((part) => typeof part === "string" && part !== "" && !part.includes("\0"))
  )
    return parts;
  throw new UsageError(
    `${where} must be text, or several separated by commas (in a config file an array).`,
  );
};

const accessLogFile: Read<string> = (value, where) => {
  if (value !== "-") return filePath(value, where);
  throw new UsageError(`${where} must be a file: what the lbs print goes to their own logs.`);
};

/** Lb flags that the cluster sets itself, or that have a cluster flag. */
const NOT_LB_FLAGS: ReadonlySet<string> = new Set(
  (
    "--listen --upstream --relay --secret-file --id --reuse-port --log-level --trust " +
    "--proxy-protocol --tls-cert --tls-key --access-log"
  ).split(" "),
);

/**
 * "--head-timeout-ms 5000", the same as an array of words, or { headTimeoutMs: 5000 }. The lb
 * checks the flags.
 */
const lbFlags: Read<readonly string[]> = (value, where) => {
  const words = isRecord(value)
    ? wordsOf(value, where)
    : typeof value === "string"
      ? split(value, where)
      : value;
  if (
    !Array.isArray(words) ||
    !words.every((word) => typeof word === "string" && !word.includes("\0"))
  )
    throw new UsageError(
      `${where} must be flags of the lb, ` +
        'such as "--head-timeout-ms 5000" or { headTimeoutMs: 5000 }.',
    );
  const taken = words.find((word) => NOT_LB_FLAGS.has(word.split("=", 1)[0]));
  if (taken === undefined) return words;
  throw new UsageError(
    `${where} must not hold ${taken.split("=")[0]}: the cluster sets it, or has a flag for it.`,
  );
};

function split(text: string, where: string): string[] {
  if (/^(?:[^"']|"[^"]*"|'[^']*')*$/.test(text))
    return [...text.matchAll(/(?:[^\s"']|"[^"]*"|'[^']*')+/g)].map(([word]) =>
      word.replace(/"([^"]*)"|'([^']*)'/g, "$1$2"),
    );
  throw new UsageError(`${where} has an unclosed quotation mark.`);
}

function wordsOf(flags: Record<string, unknown>, where: string): string[] {
  return Object.entries(flags).flatMap(([key, value]) => {
    const flag = `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    return (Array.isArray(value) ? value : [value]).flatMap((each: unknown) => {
      if (each === true) return [flag];
      if (each === false || each === undefined) return [];
      if (typeof each === "string" || typeof each === "number") return [`${flag}=${each}`];
      throw new UsageError(
        `${key} of ${where} must be text, a number, true, false, or an array of these.`,
      );
    });
  });
}

const hostName: Read<string> = (value, where) => {
  if (
    typeof value === "string" &&
    /^(?:[\w.-]+|[0-9a-fA-F:.]*:[0-9a-fA-F:.]*)$/.test(value) &&
    !/^[^:]*:\d+$/.test(value)
  )
    return value;
  throw new UsageError(
    `${where} "${value}" is not a host: ` +
      "give a name or an address without port, such as 127.0.0.1 or ::1.",
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
