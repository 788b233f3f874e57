// A short run of `bun run fuzz` over all decoders.

import { expect, test } from "bun:test";
import { join } from "node:path";

test("50,000 bad inputs cause no exception, no hang and no memory growth", async () => {
  const command = [process.execPath, join(import.meta.dir, "main.ts"), "--inputs", "50000"];
  const child = Bun.spawn(command, { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [out, err] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  if ((await child.exited) !== 0) throw new Error(`${out}\n${err}`);
  expect(out).toContain("no failures");
}, 120_000);
