// A process that is well the first time and, when it is started again, dies at once: a crash loop.

import { existsSync, writeFileSync } from "node:fs";

const mark = `${process.argv[process.argv.indexOf("--secret-file") + 1]}-started-once`;
if (existsSync(mark)) throw new Error("it broke on the way");
writeFileSync(mark, "");
await import("./well.ts");
