// The documents are true of the code: every command of the README runs, and PROTOCOL.md agrees with
// src/wire.

import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
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

  test("names every close code, and whether to come back", () => {
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
  test("are there, and their links lead somewhere", () => {
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
