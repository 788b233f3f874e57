// The chaos command as an operator runs it: a short run against a real cluster, its verdict, and
// its errors for bad flags.

import { expect, test } from "bun:test";
import { join } from "node:path";

const MAIN = join(import.meta.dirname, "../../src/chaos/main.ts");

async function chaos(...flags: string[]): Promise<{ code: number; out: string; err: string }> {
  const child = Bun.spawn([process.execPath, "--no-orphans", MAIN, ...flags], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, err] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  return { code: await child.exited, out, err };
}

test("no messages are lost, repeated or reordered while processes are killed", async () => {
  const { code, out, err } = await chaos(
    "--seconds",
    "15",
    "--clients",
    "60",
    "--rate",
    "80",
    "--seed",
    "7",
  );
  expect(err).toBe("");
  expect(out).toContain("lost 0 · repeated 0 · reordered 0 · untold gaps 0 · false messages 0");
  expect(out).toContain("gaps told     0");
  expect(Number(/(\d+) acknowledged/.exec(out)?.[1])).toBeGreaterThan(500);
  expect(out.match(/SIGKILL/g)?.length).toBeGreaterThan(2);
  expect(code).toBe(0);
}, 120_000);

test("bad flags are refused with a sentence; --help lists the flags", async () => {
  const wrong = await chaos("--seconds", "soon");
  expect(wrong).toEqual({
    code: 1,
    out: "",
    err: '--seconds "soon" must be a whole number from 1 to 86400.\n',
  });
  expect((await chaos("--sedonds", "1")).code).toBe(1);
  const help = await chaos("--help");
  expect(help.code).toBe(0);
  expect(help.out).toContain("--seed N");
});
