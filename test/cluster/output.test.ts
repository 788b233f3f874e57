// One log format for what processes print: our JSON lines, the app's, and lines that are no JSON.

import { expect, test } from "bun:test";
import fc from "fast-check";
import { Echo, LineSplitter, logRecord, readable } from "../../src/cluster/files/output.ts";

const NODE = { role: "node", id: "node-1", stream: "stdout" } as const;
const TIME = "2026-01-02T03:04:05.678Z";
const own = (level: number, msg: string): string =>
  JSON.stringify({ level, time: TIME, role: "node", id: "node-1", msg });

test("lines come whole however the bytes are cut", () => {
  const characters = fc.constantFrom("a", "z", "é", "€", "😀");
  const texts = fc.array(fc.string({ unit: characters, minLength: 1 }), { maxLength: 20 });
  fc.assert(
    fc.property(texts, fc.integer({ min: 1, max: 9 }), (lines, step) => {
      const bytes = new TextEncoder().encode(lines.map((line) => `${line}\n`).join(""));
      const splitter = new LineSplitter();
      const got: string[] = [];
      for (let at = 0; at < bytes.length; at += step)
        got.push(...splitter.push(bytes.subarray(at, at + step)));
      expect([...got, ...splitter.end()]).toEqual(lines);
    }),
  );
});

test("a line without end is cut, and the last one needs none", () => {
  const splitter = new LineSplitter();
  expect(splitter.push(new Uint8Array(70_000).fill(97))[0]).toHaveLength(70_000);
  expect(splitter.push(new TextEncoder().encode("the end"))).toEqual([]);
  expect(splitter.end()).toEqual(["the end"]);
});

test("every line is JSON with the role and id of its process", () => {
  expect(logRecord(own(30, "up"), NODE, TIME)).toEqual({
    line: own(30, "up"),
    level: 30,
    isOwn: true,
  });
  const wrapped = logRecord('a "plain" line', NODE, TIME);
  expect(wrapped).toMatchObject({ level: 30, isOwn: false });
  expect(wrapped.line).toBe(own(30, 'a "plain" line'));
  expect(logRecord("oh no", { ...NODE, stream: "stderr" }, TIME).level).toBe(40);
  const theirs = logRecord('{"level":50,"msg":"db","role":"lb","id":"lb-1"}', NODE, TIME);
  expect(theirs.isOwn).toBe(false);
  expect(JSON.parse(theirs.line)).toEqual({
    level: 50,
    time: TIME,
    msg: "db",
    role: "node",
    id: "node-1",
  });
  for (const broken of ["{", "{]", "{\u0000}", "[1]", "null"])
    expect(JSON.parse(logRecord(broken, NODE, TIME).line)).toMatchObject({ msg: broken });
});

test("a record is read as what it says", () => {
  expect(readable(own(30, "up"))).toBe("up");
  expect(readable("plain")).toBe("plain");
  expect(readable('{"msg":"failed","err":{"stack":"Error: x\\n at y"}}')).toBe(
    "failed\nError: x\n at y",
  );
});

test("the terminal shows warnings and the app's output, once the cluster is up", () => {
  const printed: string[] = [];
  const echo = new Echo("info", (line) => printed.push(line));
  const write = (line: string) => echo.recordWritten(logRecord(line, NODE, TIME));
  write("early");
  expect(printed).toEqual([]);
  echo.clusterIsUp();
  write(own(30, "news"));
  write(own(40, "link lost"));
  write("from the app");
  expect(printed).toEqual([own(30, "early"), own(40, "link lost"), own(30, "from the app")]);
  const silent = new Echo("silent", () => printed.push("said"));
  silent.clusterIsUp();
  silent.recordWritten(logRecord("from the app", NODE, TIME));
  silent.recordWritten(logRecord(own(60, "fatal"), NODE, TIME));
  expect(printed).toHaveLength(3);
});
