// Which framing the fields of a message give it.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { HttpFault } from "../../src/lb/http/faults.ts";
import { parseLength, requestFraming, responseFraming } from "../../src/lb/http/framing.ts";

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
