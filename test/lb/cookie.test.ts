// The sticky cookie, and what is derived from the key.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { privateCacheControl, setsCookie, splitCookie } from "../../src/lb/http/cookie.ts";
import { cookieValue, viaName } from "../../src/lb/http/keyed.ts";

describe("the cookie", () => {
  test("is taken out, whatever is around it", () => {
    const pair = fc.tuple(
      fc.stringMatching(/^[a-zA-Z]{1,6}$/),
      fc.stringMatching(/^[a-zA-Z0-9=]{0,8}$/),
    );
    fc.assert(
      fc.property(
        fc.array(pair, { maxLength: 5 }),
        fc.nat(5),
        fc.option(fc.stringMatching(/^\w{0,8}$/)),
        (pairs, at, value) => {
          const others = pairs
            .filter(([name]) => name !== "TUTTI")
            .map(([name, given]) => `${name}=${given}`);
          const all = value === null ? others : others.toSpliced(at, 0, `TUTTI=${value}`);
          const { sticky, rest } = splitCookie(all.join("; "), "TUTTI");
          expect(sticky).toBe(value ?? undefined);
          expect(rest).toBe(others.join("; "));
        },
      ),
    );
  });

  test("the first value counts, all go; names that only contain ours stay", () => {
    expect(splitCookie("TUTTI=1; a=b;TUTTI=2", "TUTTI")).toEqual({ sticky: "1", rest: "a=b" });
    expect(splitCookie("XTUTTI=1; TUTTIX=2; TUTTI", "TUTTI")).toEqual({
      sticky: undefined,
      rest: "XTUTTI=1; TUTTIX=2; TUTTI",
    });
    expect(splitCookie("TUTTI=1", undefined)).toEqual({ sticky: undefined, rest: "TUTTI=1" });
    expect(setsCookie("TUTTI=x; Path=/", "TUTTI")).toBe(true);
    expect(setsCookie("a=TUTTI", "TUTTI")).toBe(false);
  });

  test("is derived from key and node, and tells neither", () => {
    expect(cookieValue("k", "node-1")).toBe(cookieValue("k", "node-1"));
    expect(cookieValue("k", "node-1")).not.toBe(cookieValue("k", "node-2"));
    expect(cookieValue("k", "node-1")).not.toBe(cookieValue("l", "node-1"));
    expect(cookieValue("k", "node-1")).toMatch(/^[\w-]{22}$/);
    expect(viaName("k")).not.toBe(viaName("l"));
  });
});

test("a response that sets the cookie has one Cache-Control, which no shared cache may pass over", () => {
  const of = (...values: string[]) => privateCacheControl(values).trim();
  expect(of()).toBe("Cache-Control: private");
  expect(of("no-cache")).toBe("Cache-Control: no-cache, private");
  expect(of("public, max-age=60")).toBe("Cache-Control: max-age=60, private");
  expect(of("no-store", "private")).toBe("Cache-Control: no-store, private");
  expect(of("No-Store")).toBe("Cache-Control: No-Store");
});
