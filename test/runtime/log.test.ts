import { expect, test } from "bun:test";
import { closeSync, existsSync, openSync } from "node:fs";
import { join } from "node:path";

const LOG = join(import.meta.dirname, "../../src/runtime/log.ts");

test.skipIf(!existsSync("/dev/full"))(
  "a log that cannot be written costs lines, never the process",
  async () => {
    const full = openSync("/dev/full", "w");
    const script = `
    const { createLogger } = await import(${JSON.stringify(LOG)});
    const logger = createLogger("node", "node-1", "info");
    const before = process.memoryUsage().rss;
    for (let i = 0; i < 20_000; i++) logger.info("x".repeat(1000));
    await new Promise((resolve) => setImmediate(resolve));
    console.log(process.memoryUsage().rss - before < 100 * 1024 * 1024 ? "alive" : "grown");`;
    const child = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe", stderr: full });
    closeSync(full);
    expect(await new Response(child.stdout).text()).toBe("alive\n");
    expect(await child.exited).toBe(0);
  },
);
