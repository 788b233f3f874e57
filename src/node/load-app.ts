// Loads the app's file, in which "tutti" can be imported wherever the file is.

import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { plugin } from "bun";
import { UsageError } from "../runtime/arguments.ts";
import type { AppOptions } from "./app/index.ts";
import * as api from "./app/index.ts";

/**
 * The options of the app that a file exports. Throws UsageError: a sentence for the operator, with
 * the app's stack where it threw.
 */
export async function loadApp(file: string): Promise<AppOptions<string>> {
  const path = resolve(file);
  if (!existsSync(path))
    throw new UsageError(
      `The app file ${path} does not exist: give --app the path of your app.ts.`,
    );
  plugin({
    name: "tutti",
    setup: (build) => {
      build.module("tutti", () => ({ exports: { ...api }, loader: "object" }));
    },
  });
  const options = api.appOptions(await importDefault(path));
  if (options !== undefined) return options;
  throw new UsageError(
    `The app file ${path} does not export an app: write "export default app({ … })".`,
  );
}

async function importDefault(path: string): Promise<unknown> {
  try {
    const loaded: { default?: unknown } = await import(path);
    return loaded.default;
  } catch (error) {
    throw new UsageError(
      `The app file ${path} failed while it was loaded:\n${describeError(error)}`,
    );
  }
}

/** What was thrown: its stack, or, for build errors, their locations in the source. */
export function describeError(error: unknown): string {
  return error instanceof Error && !(error instanceof AggregateError) && error.stack !== undefined
    ? error.stack
    : Bun.inspect(error);
}
