// The pure readers of the lb, by value and by property: heads and bodies mean the same however they
// are cut, and nothing that may come breaks them.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { bodyReader, ChunkedReader, writeContent } from "../../src/lb/http/body.ts";
import { HttpFault } from "../../src/lb/http/faults.ts";
import { parseLength, requestFraming, responseFraming } from "../../src/lb/http/framing.ts";
import { HeadReader, REQUEST, RESPONSE } from "../../src/lb/http/head.ts";
import { interpretRequest } from "../../src/lb/http/request.ts";
import { acceptOf } from "../../src/lb/http/websocket.ts";
import { WriteBuffer } from "../../src/lb/net/byte-sink.ts";

const LIMITS = { headBytesMax: 4096, targetBytesMax: 1024, headFieldsMax: 20 };
const bytes = (text: string) => Buffer.from(text, "latin1");

/**
 * Reads a head out of pieces; `at`: where what follows it begins, in all; `written`: its fields as
 * they are passed on.
 */
function readHead(pieces: readonly Buffer[], kind: "request" | "response" = "request") {
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

const token = fc.stringMatching(/^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}$/);
const fieldValue = fc.stringMatching(
  /^(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]{0,30}[\x21-\x7e\x80-\xff])?)?$/,
);
const target = fc.stringMatching(/^\/[!"$-~]{0,60}$/);
const fields = fc.array(fc.tuple(token, fieldValue), { maxLength: 15 });
const blanks = fc.constantFrom("", " ", "\t", "  \t ");
const requestHead = fc.record({
  method: token,
  target,
  minor: fc.constantFrom(0, 1),
  fields,
  blanks,
});

/** Cuts bytes at arbitrary places. */
const cut = (whole: Buffer, places: readonly number[]): Buffer[] => {
  const at = [...new Set(places.map((place) => place % (whole.length + 1)))].sort((a, b) => a - b);
  return [0, ...at]
    .map((from, index) => whole.subarray(from, at[index] ?? whole.length))
    .filter(({ length }) => length > 0);
};
const places = fc.array(fc.nat(100_000), { maxLength: 6 });

/** Bytes that are nearly a head: a valid one with some bytes changed, taken out or put in. */
const nearlyHead = fc
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
const textOf = ({ method, target, minor, fields, blanks }: RequestHeadParts) =>
  `${method} ${target} HTTP/1.${minor}\r\n${fields.map(([name, value]) => `${name}:${blanks}${value}${blanks}\r\n`).join("")}\r\n`;

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

describe("field names", () => {
  const meant = [
    "Host",
    "CONTENT-LENGTH",
    "Transfer-Encoding",
    "connection",
    "Keep-Alive",
    "Proxy-Connection",
    "TE",
    "Upgrade",
  ];
  const more = [
    "HTTP2-Settings",
    "Forwarded",
    "X-Real-IP",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
  ];
  const rest = [
    "Cookie",
    "Set-Cookie",
    "Via",
    "Expect",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Accept",
  ];
  test("those that matter are known in any case, and nothing else is taken for them", () => {
    const names = [...meant, ...more, ...rest];
    const head = `GET / HTTP/1.1\r\n${names
      .slice(0, 20)
      .map((name) => `${name}: x\r\n`)
      .join("")}\r\n`;
    expect(readHead([bytes(head)]).keys).toEqual(
      names.slice(0, 20).map((name) => name.toLowerCase() as never),
    );
    fc.assert(
      fc.property(
        fc.constantFrom(...names),
        fc.nat(30),
        fc.stringMatching(/^[!#A-Za-z0-9\x60~^-]$/),
        (name, place, put) => {
          const at = place % name.length;
          const changed = name.slice(0, at) + put + name.slice(at + 1);
          const [key] = readHead([bytes(`GET / HTTP/1.1\r\n${changed}: x\r\n\r\n`)]).keys ?? [];
          const isSame = changed.toLowerCase() === name.toLowerCase();
          if (isSame) expect(key as string).toBe(name.toLowerCase());
          else if (key !== "x-forwarded-*")
            expect(names.map((each) => each.toLowerCase())).toContain(key ?? "te");
          if (!isSame && key !== undefined && key !== "x-forwarded-*")
            expect(changed.toLowerCase()).toBe(key);
        },
      ),
    );
    const odd = readHead([
      bytes(
        "GET / HTTP/1.1\r\nX-Forwarded-Port: x\r\nX_Y: x\r\nX-Forwarded-: x\r\nX-Other: x\r\n\r\n",
      ),
    ]);
    expect(odd.keys).toEqual(["x-forwarded-*", "_", "x-forwarded-*", undefined]);
  });
});

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
      fc.tuple(fc.nat(1000), fc.constantFrom("\r", "\n", "0", "f", ";", " ", "", "\r\n")),
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

describe("framing", () => {
  test("a Content-Length is digits, exact, and nothing else", () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[0-9+\-x_ .e]{0,20}$/)), (text) => {
        const value = parseLength(text);
        if (value !== undefined) expect(BigInt(text)).toBe(BigInt(value));
        else
          expect(/^\d+$/.test(text) && BigInt(text) <= BigInt(Number.MAX_SAFE_INTEGER)).toBe(false);
      }),
    );
  });

  test("requests and answers are framed strictly", () => {
    expect(requestFraming({ lengths: [], codings: [] }, 1)).toEqual({ kind: "none" });
    expect(requestFraming({ lengths: ["007"], codings: [] }, 1)).toEqual({
      kind: "length",
      bytes: 7,
    });
    expect(requestFraming({ lengths: ["1"], codings: ["chunked"] }, 1)).toBeInstanceOf(HttpFault);
    expect(responseFraming({ lengths: ["1"], codings: ["chunked"] }, 200, 1, "GET")).toEqual({
      kind: "chunked",
    });
    expect(responseFraming({ lengths: ["x"], codings: ["x"] }, 304, 1, "GET")).toEqual({
      kind: "none",
    });
    expect(responseFraming({ lengths: [], codings: [] }, 200, 1, "GET")).toEqual({ kind: "close" });
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

test("the accept hash is that of RFC 6455, 1.3", () => {
  expect(acceptOf("dGhlIHNhbXBsZSBub25jZQ==")).toBe("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
});
