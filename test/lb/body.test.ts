// Bodies, by value and by property: they mean the same however they are cut, and nothing that may
// come breaks their readers.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { bodyReader, ChunkedReader, writeContent } from "../../src/lb/http/body.ts";
import { WriteBuffer } from "../../src/lb/net/byte-sink.ts";
import { bytes, cut, places } from "./generated-heads.ts";

/** Reads a chunked body out of pieces. */
function readChunked(pieces: readonly Buffer[]) {
  const reader = new ChunkedReader();
  let content = "";
  let at = 0;
  for (const piece of pieces) {
    const found: number[] = [];
    at += reader.read(piece, 0, found);
    content += contentAt(piece, found);
    if (reader.done || reader.fault !== undefined) break;
  }
  const fault = reader.fault !== undefined;
  return { content, done: reader.done, fault, at: reader.done ? at : undefined };
}

const contentAt = (piece: Buffer, found: readonly number[]): string => {
  let content = "";
  for (let at = 0; at < found.length; at += 2)
    content += piece.toString("latin1", found[at], found[at + 1]);
  return content;
};

const chunks = fc.array(
  fc.tuple(fc.string({ unit: "binary-ascii", minLength: 1, maxLength: 40 }), fc.boolean()),
  {
    maxLength: 8,
  },
);
const chunkedText = (parts: readonly [string, boolean][]) =>
  `${parts.map(([data, extended]) => `${data.length.toString(16)}${extended ? ";x=y" : ""}\r\n${data}\r\n`).join("")}0\r\n\r\n`;

describe("bodies", () => {
  test("chunked: what was written is read, wherever it is cut, and what follows is left alone", () => {
    fc.assert(
      fc.property(chunks, places, fc.uint8Array({ maxLength: 50 }), (parts, at, after) => {
        const text = chunkedText(parts);
        const read = readChunked(cut(Buffer.concat([bytes(text), after]), at));
        const content = parts.map(([data]) => data).join("");
        expect(read).toEqual({ content, done: true, fault: false, at: text.length });
      }),
    );
  });

  test("chunked: every split point of one body gives the same", () => {
    const whole = bytes("3;a=b\r\nabc\r\n0000A\r\n0123456789\r\n0\r\nX: y\r\nZ: \r\n\r\nrest");
    const expected = readChunked([whole]);
    expect(expected).toEqual({
      content: "abc0123456789",
      done: true,
      fault: false,
      at: whole.length - 4,
    });
    for (let first = 0; first <= whole.length; first++) {
      for (let second = first; second <= whole.length; second++)
        expect(readChunked(cut(whole, [first, second]))).toEqual(expected);
    }
  });

  test("chunked: garbage and near misses never throw, and mean the same however they are cut", () => {
    const edits = fc.array(
      fc.tuple(
        fc.nat(1000),
        fc.constantFrom("\r", "\n", "0", "f", ";", " ", "=", '"', "\\", "", "\r\n"),
      ),
      {
        maxLength: 3,
      },
    );
    fc.assert(
      fc.property(chunks, edits, places, (parts, changes, at) => {
        let text = chunkedText(parts);
        for (const [place, put] of changes)
          text = text.slice(0, place % text.length) + put + text.slice((place % text.length) + 1);
        const once = readChunked([bytes(text)]);
        const inPieces = readChunked(cut(bytes(text), at));
        expect({ done: inPieces.done, fault: inPieces.fault, at: inPieces.at }).toEqual({
          done: once.done,
          fault: once.fault,
          at: once.at,
        });
        if (once.done) expect(inPieces.content).toBe(once.content);
      }),
      { numRuns: 500 },
    );
  });

  describe("chunked: extensions are read as RFC 9112, 7.1.1 writes them", () => {
    for (const size of [
      "5;a",
      "5;a=b",
      "5 ;a=b",
      "5\t; a = b",
      '5;a="b c"',
      '5;a="b\\"; c";d',
      '5;a="" ; e=f',
      "5;a;b;c=d",
    ])
      test(`${JSON.stringify(size)} is dropped`, () => {
        const text = `${size}\r\nabcde\r\n0\r\n\r\n`;
        const expected = { content: "abcde", done: true, fault: false, at: text.length };
        expect(readChunked([bytes(text)])).toEqual(expected);
        expect(readChunked(text.split("").map(bytes))).toEqual(expected);
      });
    for (const size of [
      "5;",
      "5;;",
      "5;;a",
      "5 ",
      "5 a",
      "5;a ",
      "5;bad[=x",
      "5;a=",
      "5;a= ",
      "5;a=b c",
      "5;a=b ",
      "5;=b",
      '5;a="unclosed',
      '5;a="b\\"',
      '5;a="b"c',
      '5;a="\x7f"',
      '5;a="\x01"',
      "5;a=\x80",
      "5;a\x80",
    ])
      test(`${JSON.stringify(size)} is malformed`, () => {
        const text = `${size}\r\nabcde\r\n0\r\n\r\n`;
        expect(readChunked([bytes(text)])).toMatchObject({ done: false, fault: true });
      });
  });

  test("framed anew, a body reads as the same content, whatever pieces it came in", () => {
    fc.assert(
      fc.property(chunks, places, (parts, at) => {
        const reader = new ChunkedReader();
        let out = "";
        for (const piece of cut(bytes(chunkedText(parts)), at)) {
          const [found, draft] = [[], new WriteBuffer(16)];
          reader.read(piece, 0, found);
          writeContent({ kind: "chunked" }, reader, piece, found, draft);
          out += draft.takeCopy().toString("latin1");
        }
        expect(readChunked([bytes(out)])).toEqual({
          content: parts.map(([data]) => data).join(""),
          done: true,
          fault: false,
          at: out.length,
        });
      }),
    );
  });

  test("by length: exactly so many bytes", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 200 }),
        fc.uint8Array({ maxLength: 300 }),
        places,
        (length, data, at) => {
          const reader = bodyReader({ kind: "length", bytes: length });
          let content = "";
          let used = 0;
          for (const piece of cut(Buffer.from(data), at)) {
            if (reader?.done !== false) break;
            const found: number[] = [];
            used += reader.read(piece, 0, found);
            content += contentAt(piece, found);
          }
          expect(used).toBe(Math.min(length, data.length));
          expect(content).toBe(Buffer.from(data.subarray(0, used)).toString("latin1"));
          expect(reader?.done).toBe(data.length >= length);
        },
      ),
    );
  });
});
