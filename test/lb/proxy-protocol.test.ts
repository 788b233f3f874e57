// The PROXY protocol's headers, by value and by property.

import { expect, test } from "bun:test";
import fc from "fast-check";
import { readProxyHeader } from "../../src/lb/accept/proxy-protocol.ts";
import { proxyV2, tlv } from "./proxy-headers.ts";

const read = (text: string | Buffer) =>
  readProxyHeader(typeof text === "string" ? Buffer.from(text, "latin1") : text);
const v4 = Buffer.from([10, 1, 2, 3, 192, 168, 0, 1, 0x30, 0x39, 0, 80]);
const ssl = (client: number) => tlv(0x20, Buffer.from([client, 0, 0, 0, 0]));

test("version 1 names an address, in one spelling", () => {
  const cases: [string, string | undefined][] = [
    ["TCP4 10.1.2.3 192.168.0.1 12345 80", "10.1.2.3"],
    ["TCP4 0.0.0.0 255.255.255.255 0 65535", "0.0.0.0"],
    ["TCP6 2001:DB8:0:0:0:0:0:1 ::1 1 2", "2001:db8::1"],
    ["TCP6 2001:db8::1 ::1 1 2", "2001:db8::1"],
    ["TCP6 1:0:0:2:0:0:0:3 :: 1 2", "1:0:0:2::3"],
    ["TCP6 1:0:2:3:4:5:6:7 :: 1 2", "1:0:2:3:4:5:6:7"],
    ["TCP6 :: :: 1 2", "::"],
    ["TCP6 ::ffff:a01:203 ::1 1 2", "10.1.2.3"],
    ["UNKNOWN", undefined],
    ["UNKNOWN ffff:f ffff: 65535 what ever", undefined],
  ];
  for (const [line, address] of cases) {
    const text = `PROXY ${line}\r\n`;
    expect(read(`${text}GET / HTTP/1.1\r\n`)).toEqual({
      bytes: text.length,
      address,
      isSecure: false,
    });
  }
});

test("version 1 that is not exactly as it must be is invalid", () => {
  for (const line of [
    "GET / HTTP/1.1",
    "PROXY",
    "PROXY ",
    "proxy TCP4 1.2.3.4 1.2.3.4 1 2",
    "PROXY  TCP4 1.2.3.4 1.2.3.4 1 2",
    "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 ",
    "PROXY TCP4 1.2.3.4 1.2.3.4 1",
    "PROXY TCP4 1.2.3.4\t1.2.3.4 1 2",
    "PROXY TCP4 1.2.3.04 1.2.3.4 1 2",
    "PROXY TCP4 1.2.3.256 1.2.3.4 1 2",
    "PROXY TCP4 1.2.3.4 1.2.3 1 2",
    "PROXY TCP4 ::1 1.2.3.4 1 2",
    "PROXY TCP4 1.2.3.4 1.2.3.4 01 2",
    "PROXY TCP4 1.2.3.4 1.2.3.4 65536 2",
    "PROXY TCP4 1.2.3.4 1.2.3.4 1 -2",
    "PROXY TCP6 1.2.3.4 1.2.3.4 1 2",
    "PROXY TCP6 1::2::3 ::1 1 2",
    "PROXY TCP6 ::ffff:1.2.3.4 ::1 1 2",
    "PROXY TCP6 fe80::1%eth0 ::1 1 2",
    "PROXY TCP6 1:2:3:4:5:6:7:8:9 ::1 1 2",
    "PROXY TCP6 1:2:3:4:5:6:7 ::1 1 2",
    "PROXY TCP6 12345::1 ::1 1 2",
    "PROXY UDP4 1.2.3.4 1.2.3.4 1 2",
    "PROXY UNKNOWNX",
    "PROXY UNKNOWN a\nb",
    "PROXY UNKNOWN a\rb",
  ])
    expect([line, read(`${line}\r\n`)]).toEqual([line, "invalid"]);
  expect(read("PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n\r\n")).toBe("invalid");
});

test("a header over its greatest length is invalid as soon as that shows", () => {
  const longest = `PROXY UNKNOWN ${"x".repeat(91)}\r\n`;
  expect(longest.length).toBe(107);
  expect(read(longest)).toEqual({ bytes: 107, address: undefined, isSecure: false });
  expect(read(`PROXY UNKNOWN ${"x".repeat(92)}\r\n`)).toBe("invalid");
  expect(read(`PROXY UNKNOWN ${"x".repeat(92)}`)).toBe("incomplete");
  expect(read(`PROXY UNKNOWN ${"x".repeat(93)}`)).toBe("invalid");
  expect(read(proxyV2(0x21, 0x11, Buffer.concat([v4, tlv(4, Buffer.alloc(4065))])))).toMatchObject({
    bytes: 4096,
  });
  expect(
    read(proxyV2(0x21, 0x11, Buffer.concat([v4, tlv(4, Buffer.alloc(4066))])).subarray(0, 16)),
  ).toBe("invalid");
});

test("version 2 names an address, and whether the client came over TLS", () => {
  const v6 = Buffer.concat([
    Buffer.from("20010db8000000000000000000000001", "hex"),
    Buffer.alloc(20),
  ]);
  const mapped = Buffer.concat([
    Buffer.from("00000000000000000000ffff0a010203", "hex"),
    Buffer.alloc(20),
  ]);
  const cases: [number, number, Buffer, string | undefined, boolean][] = [
    [0x21, 0x11, v4, "10.1.2.3", false],
    [0x21, 0x21, v6, "2001:db8::1", false],
    [0x21, 0x21, mapped, "10.1.2.3", false],
    [0x21, 0x31, Buffer.alloc(216, "/sock"), undefined, false],
    [0x21, 0x00, Buffer.alloc(0), undefined, false],
    [0x21, 0x00, Buffer.alloc(33, 1), undefined, false],
    [0x20, 0x00, Buffer.alloc(0), undefined, false],
    [0x20, 0x11, v4, undefined, false],
    [0x20, 0xee, Buffer.alloc(7, 1), undefined, false],
    [0x21, 0x11, Buffer.concat([v4, tlv(4, Buffer.alloc(3)), ssl(1)]), "10.1.2.3", true],
    [0x21, 0x11, Buffer.concat([v4, ssl(0x07)]), "10.1.2.3", true],
    [0x21, 0x11, Buffer.concat([v4, ssl(0)]), "10.1.2.3", false],
    [0x21, 0x11, Buffer.concat([v4, ssl(1), tlv(0xee, Buffer.alloc(0))]), "10.1.2.3", true],
  ];
  for (const [command, family, rest, address, isSecure] of cases) {
    const bytes = proxyV2(command, family, rest);
    expect(read(Buffer.concat([bytes, Buffer.from("GET")]))).toEqual({
      bytes: bytes.length,
      address,
      isSecure,
    });
  }
});

test("version 2 that is not exactly as it must be is invalid", () => {
  for (const [command, family, rest] of [
    [0x11, 0x11, v4],
    [0x22, 0x11, v4],
    [0x2f, 0x11, v4],
    [0x21, 0x12, v4],
    [0x21, 0x10, v4],
    [0x21, 0x41, v4],
    [0x21, 0x11, v4.subarray(1)],
    [0x21, 0x21, v4],
    [0x21, 0x31, Buffer.alloc(215)],
    [0x21, 0x11, Buffer.concat([v4, Buffer.from([4])])],
    [0x21, 0x11, Buffer.concat([v4, Buffer.from([4, 0, 1])])],
    [0x21, 0x11, Buffer.concat([v4, tlv(0x20, Buffer.alloc(4))])],
  ] as const)
    expect(read(proxyV2(command, family, rest))).toBe("invalid");
  expect(read("\r\n\r\n\0\r\nQUIT\r")).toBe("invalid");
});

const octet = fc.nat(255);
const port = fc.nat(65535);
const headers = fc.oneof(
  fc.tuple(fc.ipV4(), fc.ipV4(), port, port).map((parts) => `PROXY TCP4 ${parts.join(" ")}\r\n`),
  fc
    .array(fc.nat(65535), { minLength: 8, maxLength: 8 })
    .map(
      (groups) => `PROXY TCP6 ${groups.map((group) => group.toString(16)).join(":")} ::1 1 2\r\n`,
    ),
  fc
    .tuple(
      fc.array(octet, { minLength: 12, maxLength: 12 }),
      fc.array(fc.uint8Array({ maxLength: 40 })),
    )
    .map(([address, values]) =>
      proxyV2(
        0x21,
        0x11,
        Buffer.concat([Buffer.from(address), ...values.map((value) => tlv(4, value))]),
      ),
    ),
);

test("a header cut anywhere is incomplete until its last byte has come, whatever follows it", () => {
  fc.assert(
    fc.property(headers, fc.uint8Array({ maxLength: 50 }), (header, after) => {
      const whole = typeof header === "string" ? Buffer.from(header) : header;
      for (let length = 0; length < whole.length; length++)
        expect(read(whole.subarray(0, length))).toBe("incomplete");
      const result = read(Buffer.concat([whole, after]));
      expect(result).toMatchObject({ bytes: whole.length });
      expect(result).toEqual(read(whole));
    }),
  );
});

test("what is invalid stays so, and no bytes throw", () => {
  fc.assert(
    fc.property(
      headers,
      fc.nat(300),
      octet,
      fc.uint8Array({ maxLength: 20 }),
      (header, at, byte, after) => {
        const bytes = Buffer.concat([Buffer.from(header), after]);
        bytes[at % bytes.length] = byte;
        let isInvalid = false;
        for (let length = 0; length <= bytes.length; length++) {
          const result = read(bytes.subarray(0, length));
          if (isInvalid) expect(result).toBe("invalid");
          isInvalid = result === "invalid";
        }
      },
    ),
  );
});
