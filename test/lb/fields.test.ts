// Which field names the lb knows.

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { bytes, readHead } from "./generated-heads.ts";

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
