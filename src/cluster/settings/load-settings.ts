// Loads the settings from flags, environment and tutti.config.ts, which is a program and may fail
// in any way.

import { existsSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { UsageError } from "../../runtime/arguments";
import { isRecord } from "../../wire/shape";
import { resolveSettings, type Settings } from "./config";

const CONFIG_FILE = "tutti.config.ts";

/** The settings, with absolute paths; throws UsageError when one cannot be used. */
export async function loadSettings(flags: Readonly<Record<string, unknown>>): Promise<Settings> {
  const wanted = flags.config ?? process.env.TUTTI_CONFIG;
  const fileName = typeof wanted === "string" && wanted !== "" ? wanted : CONFIG_FILE;
  const path = resolve(fileName);
  if (!existsSync(path) && fileName === wanted)
    throw new UsageError(`The config file ${fileName} does not exist: check --config.`);
  const file = existsSync(path) ? await load(path, fileName) : {};
  const settings = resolveSettings({ flags, environment: process.env, file, fileName });
  const { data, app, accessLog, tlsCert, tlsKey } = settings;
  return {
    ...settings,
    data: resolve(data),
    app: app === undefined ? undefined : resolve(app),
    accessLog: accessLog === undefined ? undefined : resolve(accessLog),
    tlsCert: tlsCert.map((path) => resolve(path)),
    tlsKey: tlsKey.map((path) => resolve(path)),
  };
}

/** What the file exports; its paths are relative to the file itself. */
async function load(path: string, fileName: string): Promise<Record<string, unknown>> {
  let exported: unknown;
  try {
    const module: unknown = await import(path);
    exported = isRecord(module) ? module.default : undefined;
  } catch (error) {
    const reason = error instanceof Error ? error.message : error;
    throw new UsageError(`The config file ${fileName} cannot be loaded: ${reason}`);
  }
  if (!isRecord(exported))
    throw new UsageError(`The config file ${fileName} must export default { nodes: 4, … }.`);
  const values = { ...exported };
  const folder = dirname(path);
  for (const key of ["data", "app", "accessLog"]) values[key] = within(folder, values[key]);
  for (const key of ["tlsCert", "tlsKey"]) {
    const value = values[key];
    const each = typeof value === "string" ? value.split(",") : value;
    values[key] = Array.isArray(each) ? each.map((one: unknown) => within(folder, one)) : each;
  }
  return values;
}

/** A path made absolute; any other value unchanged, to be refused later. */
const within = (folder: string, value: unknown): unknown =>
  typeof value === "string" && value !== "" && value !== "-"
    ? resolve(folder, value.trim())
    : value;
