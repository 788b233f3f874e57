// One process over its runs. Stand-ins play it.

import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { ChildProcess } from "../../src/cluster/supervision/child-process.ts";
import { createLogger } from "../../src/runtime/log.ts";
import { temporaryFolder } from "./start.ts";

setDefaultTimeout(30_000);

function child(folder: string, standIn: string, readyMs: number): ChildProcess {
  const script = join(import.meta.dirname, `stand-ins/${standIn}.ts`);
  return new ChildProcess(
    {
      role: "relay",
      id: "relay-1",
      logFile: join(folder, "relay-1.log"),
      readyMs,
      graceMs: 1000,
      command: () => [script, "--listen", "127.0.0.1:0", "--id", "relay-1"],
    },
    createLogger("cluster", "cluster", "silent"),
    () => {},
  );
}

test("a start that reports progress may take longer than the time for a start", async () => {
  await using folder = await temporaryFolder();
  const relay = child(folder.path, "reading", 1000);
  try {
    expect(await relay.start()).toMatch(/^127\.0\.0\.1:\d+$/);
  } finally {
    await relay.stop();
  }
});

test("a start without progress is given up after the time for a start", async () => {
  await using folder = await temporaryFolder();
  const relay = child(folder.path, "loading", 300);
  try {
    await expect(relay.start()).rejects.toThrow("relay-1 is not ready after 0.3 s");
  } finally {
    await relay.stop();
  }
});
