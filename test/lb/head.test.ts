// Heads, by value and by property: they mean the same however they are cut, and nothing that may
// come breaks their reader.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { HttpFault } from "../../src/lb/http/faults.ts";
import { HeadReader, REQUEST } from "../../src/lb/http/head.ts";
import { interpretRequest } from "../../src/lb/http/request.ts";
import {
  bytes,
  cut,
  LIMITS,
  nearlyHead,
  places,
  readHead,
  requestHead,
  textOf,
} from "./generated-heads.ts";

describe("heads", () => {
  test("what was written is read, wherever it is cut, and what follows is left alone", () => {
    fc.assert(
      fc.property(requestHead, places, fc.uint8Array({ maxLength: 50 }), (parts, at, after) => {
        const text = textOf(parts);
        const whole = Buffer.concat([bytes(text), after]);
        const read = readHead(cut(whole, at));
        expect(read.fault).toBeUndefined();
        expect(read.at).toBe(text.length);
        expect(read.start).toEqual({
          method: parts.method,
          target: parts.target,
          minor: parts.minor,
        });
        expect(read.lines).toEqual(
          parts.fields.map(([name, value]) => [name.toLowerCase(), value]),
        );
        expect(read.written).toBe(
          parts.fields.map(([name, value]) => `${name}: ${value}\r\n`).join(""),
        );
      }),
    );
  });

  test("every split point of one head gives the same", () => {
    const whole = bytes("\r\nPOST /a?b HTTP/1.1\r\nHost: a\r\nX-Y:  z \r\nEmpty:\r\n\r\nrest");
    const expected = readHead([whole]);
    expect(expected.at).toBe(whole.length - 4);
    for (let first = 0; first <= whole.length; first++) {
      for (let second = first; second <= whole.length; second++)
        expect(readHead(cut(whole, [first, second]))).toEqual(expected);
    }
  });

  test("nearly a head: the same verdict however it is cut; nothing throws; memory is bounded", () => {
    fc.assert(
      fc.property(nearlyHead, places, (whole, at) => {
        const once = readHead([whole]);
        const inPieces = readHead(cut(whole, at));
        if (once.start !== undefined || once.fault !== undefined) expect(inPieces).toEqual(once);
        // A head is only ever what its own lines say: a second, naive reading of an accepted head
        // agrees.
        if (once.start !== undefined) {
          const lines = whole
            .toString("latin1")
            .slice(0, once.at)
            .replace(/^(?:\r\n)+/, "")
            .split("\r\n");
          expect(lines.slice(1, -2).map((line) => line.split(":")[0].toLowerCase())).toEqual(
            once.lines.map(([name]) => name),
          );
          expect(lines.join("")).not.toMatch(/[\r\n\0]/);
        }
      }),
      { numRuns: 500 },
    );
  });

  test("garbage never throws, and is given up within the limit", () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ minLength: 1, maxLength: 200 }), { maxLength: 60 }),
        (pieces) => {
          for (const kind of ["request", "response"] as const) {
            const { start, fault } = readHead(
              pieces.map((piece) => Buffer.from(piece)),
              kind,
            );
            const total = pieces.reduce((sum, { length }) => sum + length, 0);
            if (total > LIMITS.headBytesMax + 200) expect(start ?? fault).toBeDefined();
          }
        },
      ),
    );
  });

  test("a line of white space does not cost quadratic time", () => {
    const spaces = " ".repeat(LIMITS.headBytesMax - 200);
    const startedMs = performance.now();
    for (let round = 0; round < 100; round++) {
      readHead([bytes(`GET / HTTP/1.1\r\nX:${spaces}\x01\r\n\r\n`)]);
      readHead([bytes(`GET / HTTP/1.1\r\nX${spaces}: a\r\n\r\n`)]);
    }
    expect(performance.now() - startedMs).toBeLessThan(2000);
  });

  test("status lines", () => {
    const start = (line: string) => readHead([bytes(`${line}\r\n\r\n`)], "response");
    expect(start("HTTP/1.1 200 OK").start).toEqual({ status: 200, reason: "OK", minor: 1 });
    expect(start("HTTP/1.0 404").start).toEqual({ status: 404, reason: "", minor: 0 });
    expect(start("HTTP/1.1 599 ").start).toEqual({ status: 599, reason: "", minor: 1 });
    for (const line of [
      "HTTP/1.1 600 X",
      "HTTP/1.1 20 X",
      "HTTP/1.2 200 X",
      "HTTP/1.1 2OO X",
      "HTTP/1.1 200\x01",
      " HTTP/1.1 200",
    ])
      expect(start(line).fault).toBe(502);
  });
});

test("whatever head is read can be interpreted, and what is accepted has one host and an origin form", () => {
  fc.assert(
    fc.property(nearlyHead, (whole) => {
      const reader = new HeadReader(REQUEST, LIMITS);
      reader.read(whole, 0);
      if (reader.start === undefined) return;
      const request = interpretRequest(reader.start, reader.fields);
      if (request instanceof HttpFault) expect(request.status).toBeGreaterThanOrEqual(400);
      else expect(request.target === "*" || request.target.startsWith("/")).toBe(true);
    }),
  );
});
