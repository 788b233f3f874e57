// A process that is well, until its deploy is broken: then it says that it cannot start.

import { existsSync } from "node:fs";
import { failToStart } from "../../../src/runtime/child-ipc.ts";

const argument = (name: string): string => process.argv[process.argv.indexOf(name) + 1] ?? "";
if (existsSync(`${argument("--secret-file")}-deploy-is-broken`))
  failToStart("The app does not load: mend it.");
await import("./well.ts");
