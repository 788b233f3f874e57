// A process that is well the first time and, when it is started again, dies at once: a crash loop.

import { existsSync, writeFileSync } from "node:fs";

const argument = (name: string): string => process.argv[process.argv.indexOf(name) + 1] ?? "";
const mark = `${argument("--secret-file")}-${argument("--id")}-started-once`;
if (existsSync(mark)) throw new Error("it broke on the way");
writeFileSync(mark, "");
await import("./well.ts");
