import { afterAll, expect, test } from "bun:test";
import {
  closeSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { keepLogSmall, lastLines, openLog } from "../../src/cluster/log-file.ts";

const folder = mkdtempSync(join(tmpdir(), "tutti-"));
const log = join(folder, "node-1.log");
afterAll(() => rmSync(folder, { recursive: true }));

test("a log that has grown too long moves aside while its process goes on writing", () => {
  const descriptor = openLog(log);
  writeSync(descriptor, "x".repeat(10 * 1024 * 1024));
  keepLogSmall(log);
  expect(statSync(log).size).toBe(10 * 1024 * 1024);
  writeSync(descriptor, "the last straw\n");
  keepLogSmall(log);
  writeSync(descriptor, "and on it goes\n");
  closeSync(descriptor);
  expect(readFileSync(log, "utf8")).toBe("and on it goes\n");
  expect(readFileSync(`${log}.1`, "utf8")).toEndWith("xxxthe last straw\n");
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
