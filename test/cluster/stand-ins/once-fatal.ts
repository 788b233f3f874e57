// A process that is well the first time; when it is started again it says that it cannot.

import { existsSync, writeFileSync } from "node:fs";
import { failToStart } from "../../../src/runtime/child-ipc.ts";

const argument = (name: string): string => process.argv[process.argv.indexOf(name) + 1] ?? "";
const mark = `${argument("--secret-file")}-${argument("--id")}-started-once`;
if (existsSync(mark)) failToStart("The app does not load: mend it.");
writeFileSync(mark, "");
await import("./well.ts");
