// Loaded into every process of the cluster under test (by BUN_OPTIONS): on SIGUSR1 it runs a full
// garbage collection and writes the memory in use to a file named after the process.

import { heapStats } from "bun:jsc";
import { renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const folder = process.env.TUTTI_SOAK_FOLDER;
let count = 0;

if (folder !== undefined)
  process.on("SIGUSR1", () => {
    Bun.gc(true);
    const { heapSize, extraMemorySize, objectCount } = heapStats();
    const note = {
      count: ++count,
      heapBytes: heapSize,
      extraMemorySize,
      objectCount,
      rssBytes: process.memoryUsage().rss,
    };
    const file = join(folder, `${process.pid}.json`);
    writeFileSync(`${file}.new`, JSON.stringify(note));
    renameSync(`${file}.new`, file);
  });
