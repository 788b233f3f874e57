import { afterAll, expect, test } from "bun:test";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LogFile, lastLines, removeOldLogs } from "../../src/cluster/files/log-file.ts";

const folder = mkdtempSync(join(tmpdir(), "tutti-"));
const log = join(folder, "node-1.log");
afterAll(() => rmSync(folder, { recursive: true }));

test("a log that has grown too long moves aside while its process goes on writing", () => {
  const file = new LogFile(log);
  file.append("x".repeat(10 * 1024 * 1024));
  file.append("and on it goes");
  file.close();
  expect(readFileSync(log, "utf8")).toBe("and on it goes\n");
  expect(readFileSync(`${log}.1`, "utf8")).toEndWith("xxx\n");
});

test("a log that was deleted with its folder is there again with the next line", () => {
  const inner = join(folder, "logs");
  const file = new LogFile(join(inner, "node-1.log"));
  file.append("before");
  rmSync(inner, { recursive: true });
  file.check();
  file.append("after");
  file.close();
  expect(readFileSync(file.path, "utf8")).toBe("after\n");
});

test("logs to which nothing was added for a week go, unless their process is there", () => {
  const inner = join(folder, "old");
  const remove = () => removeOldLogs(inner, new Set(["relay-1"]), Date.now());
  remove();
  mkdirSync(inner);
  const old = ["node-1.log", "node-1.log.1", "relay-1.log", "relay-1.log.1", "relay-12.log"];
  for (const name of [...old, "node-2.log"]) writeFileSync(join(inner, name), "x");
  for (const name of old) utimesSync(join(inner, name), 0, 0);
  remove();
  expect(readdirSync(inner).sort()).toEqual(["node-2.log", "relay-1.log", "relay-1.log.1"]);
});

test("the last lines of a log", () => {
  expect(lastLines(join(folder, "none.log"), 3)).toBe("");
  writeFileSync(log, "");
  expect(lastLines(log, 3)).toBe("");
  writeFileSync(log, "1\n2\n3\n4\n");
  expect(lastLines(log, 3)).toBe("2\n3\n4");
  writeFileSync(log, `${"a".repeat(50_000)}\nend\n`);
  expect(lastLines(log, 1)).toBe("end");
});
