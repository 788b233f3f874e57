// Heads and cuts for the property tests of the lb's readers, and how those read a head.

import fc from "fast-check";
import { HeadReader, REQUEST, RESPONSE } from "../../src/lb/http/head.ts";
import { WriteBuffer } from "../../src/lb/net/byte-sink.ts";

export const LIMITS = { headBytesMax: 4096, targetBytesMax: 1024, headFieldsMax: 20 };
export const bytes = (text: string) => Buffer.from(text, "latin1");

export const token = fc.stringMatching(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}$/);
const fieldValue = fc.stringMatching(
  /^(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]{0,30}[\x21-\x7e\x80-\xff])?)?$/,
);
export const target = fc.stringMatching(/^\/[!"$-~]{0,60}$/);
const fields = fc.array(fc.tuple(token, fieldValue), { maxLength: 15 });
const blanks = fc.constantFrom("", " ", "\t", "  \t ");
export const requestHead = fc.record({
  method: token,
  target,
  minor: fc.constantFrom(0, 1),
  fields,
  blanks,
});

/** Cuts bytes at arbitrary places. */
export const cut = (whole: Buffer, places: readonly number[]): Buffer[] => {
  const at = [...new Set(places.map((place) => place % (whole.length + 1)))].sort((a, b) => a - b);
  return [0, ...at]
    .map((from, index) => whole.subarray(from, at[index] ?? whole.length))
    .filter(({ length }) => length > 0);
};
export const places = fc.array(fc.nat(100_000), { maxLength: 6 });

/** Bytes that are nearly a head: a valid one with some bytes changed, taken out or put in. */
export const nearlyHead = fc
  .tuple(
    requestHead,
    fc.array(
      fc.tuple(
        fc.nat(10_000),
        fc.constantFrom("\r", "\n", "\0", " ", ":", "\t", "", "\r\n", "\x80"),
      ),
    ),
  )
  .map(([head, edits]) => {
    let text = textOf(head);
    for (const [place, put] of edits) {
      const at = place % text.length;
      text = text.slice(0, at) + put + text.slice(at + (place % 2));
    }
    return bytes(text);
  });

type RequestHeadParts = {
  method: string;
  target: string;
  minor: number;
  fields: [string, string][];
  blanks: string;
};
export const textOf = ({ method, target, minor, fields, blanks }: RequestHeadParts) =>
  `${method} ${target} HTTP/1.${minor}\r\n${fields.map(([name, value]) => `${name}:${blanks}${value}${blanks}\r\n`).join("")}\r\n`;

/**
 * Reads a head out of pieces; `at`: where what follows it begins, in all; `written`: its fields as
 * they are passed on.
 */
export function readHead(pieces: readonly Buffer[], kind: "request" | "response" = "request") {
  const reader =
    kind === "request" ? new HeadReader(REQUEST, LIMITS) : new HeadReader(RESPONSE, LIMITS);
  let at = 0;
  for (const piece of pieces) {
    at += reader.read(piece, 0);
    if (reader.start !== undefined || reader.fault !== undefined) break;
  }
  const { start, fields, fault } = reader;
  if (start === undefined) return { fault: fault?.status };
  const lines = Array.from({ length: fields.count }, (_, line) => [
    fields.name(line),
    fields.value(line),
  ]);
  const draft = new WriteBuffer(16);
  fields.write(() => true, draft);
  return {
    start,
    lines,
    keys: fields.keys.slice(0, fields.count),
    written: draft.takeCopy().toString("latin1"),
    at,
  };
}
