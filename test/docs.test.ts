// The documents agree with the code: PROTOCOL.md with src/wire, links and paths with files, cited
// rules with their definitions.

import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Glob } from "bun";
import { CLOSES, ERRORS } from "../src/wire/codes.ts";
import { RELAY_TABLE } from "../src/wire/relay-messages.ts";

const ROOT = join(import.meta.dir, "..");
const read = (name: string): string => readFileSync(join(ROOT, name), "utf8");
const documents = [
  "README.md",
  "ARCHITECTURE.md",
  "PROTOCOL.md",
  "CONTRIBUTING.md",
  "CHANGELOG.md",
  "SECURITY.md",
  "OPERATING.md",
  "docs/proxy-rules.md",
  "docs/reliability.md",
];

/** The rows of every table of a document, as lists of cells. */
const rows = (document: string): string[][] =>
  document
    .split("\n")
    .filter((line) => line.startsWith("|") && !/^[|\s-]+$/.test(line))
    .map((line) =>
      line
        .slice(1, -1)
        .split("|")
        .map((cell) => cell.trim()),
    );

describe("PROTOCOL.md", () => {
  const tables = rows(read("PROTOCOL.md"));

  test("names every error code, and whether to retry", () => {
    const told = tables.filter(([code]) => /^`\w+`$/.test(code) && code.slice(1, -1) in ERRORS);
    expect(told.map(([code, retry]) => [code.slice(1, -1), retry === "yes"])).toEqual(
      Object.entries(ERRORS).map(([code, { retry }]) => [code, retry]),
    );
  });

  test("names every close code, and whether to reconnect", () => {
    const told = tables
      .filter(([code]) => /^\d{4}$/.test(code))
      .map(([code, back]) => [Number(code), back === "yes"]);
    const known = Object.values(CLOSES).map(({ code, reconnect }) => [code, reconnect]);
    expect(told.toSorted()).toEqual(known.toSorted());
  });

  test("names every relay message, its opcode and its fields in their order", () => {
    for (const [type, { opcode, fields }] of Object.entries(RELAY_TABLE)) {
      const name = `${type.toUpperCase()} \`0x${opcode.toString(16).padStart(2, "0")}\``;
      const row = tables.find(([cell]) => cell === name);
      expect(row?.[0]).toBe(name);
      const told = (row?.[2] ?? "").split(";").map((part) => /^\s*(\w+)/.exec(part)?.[1]);
      expect(told).toEqual(Object.keys(fields).length === 0 ? ["none"] : Object.keys(fields));
    }
  });
});

describe("the documents", () => {
  test("exist, and their links resolve", () => {
    for (const name of documents)
      for (const [, target] of read(name).matchAll(/\]\(([^)#]+)\)/g))
        if (!/^https?:/.test(target))
          expect(`${name}: ${target}: ${existsSync(join(ROOT, target))}`).toEndWith("true");
  });

  test("name only files that exist", () => {
    for (const name of documents)
      for (const [, path] of read(name).matchAll(/`((?:src|test|bench|examples)\/[\w./-]+)`/g))
        expect(`${name}: ${path}: ${existsSync(join(ROOT, path))}`).toEndWith("true");
  });
});

describe("the rules that tests cite", () => {
  const tests = [...new Glob("**/*.ts").scanSync(import.meta.dir)]
    .filter((path) => path !== "docs.test.ts")
    .map((path) => read(join("test", path)));
  const defined = (document: string) => rows(read(document)).map(([name]) => name);
  const numeric = (left: string, right: string) =>
    left.localeCompare(right, "en", { numeric: true });
  const cited = (pattern: RegExp, namesOf: (citation: string) => string[]) =>
    [
      ...new Set(
        tests.flatMap((text) => [...text.matchAll(pattern)].flatMap(([all]) => namesOf(all))),
      ),
    ].sort(numeric);

  test("proxy rules: each citation has its rule, each rule its citation", () => {
    // A range ("rules 1–13") cites a whole file, so only rules named one by one count.
    const single = /\brules? \d+(?: and \d+)?(?![–\d])/g;
    const rules = defined("docs/proxy-rules.md").filter((name) => /^\d+$/.test(name));
    expect(cited(single, (citation) => citation.match(/\d+/g) ?? [])).toEqual(rules);
  });

  test("races and checker rules: each citation has its rule, each rule its citation", () => {
    const rules = defined("docs/reliability.md").filter((name) => /^[RC]\d+$/.test(name));
    const names = cited(/\b(?:R\d{1,2}|C\d)\b/g, (citation) => [citation]);
    expect(names).toEqual(rules.sort(numeric));
  });
});
