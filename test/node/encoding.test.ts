import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Packr, Unpackr } from "msgpackr";
import { jsonText } from "../../src/client/outgoing.ts";
import { isOriginAllowed } from "../../src/node/app/origin.ts";
import {
  chooseSubprotocol,
  decodeFrame,
  frameOf,
  requestIdIn,
} from "../../src/node/codec/encoding.ts";
import { assertJsonMsgpack } from "../../src/node/codec/msgpack-value.ts";
import { DATA_DEPTH_MAX, DEPTH_MAX } from "../../src/wire/json-text.ts";
import { Malformed } from "../../src/wire/shape.ts";

const packer = new Packr({ useRecords: false });
const pack = (value: unknown) => new Uint8Array(packer.pack(value));
/** Without the key "__proto__", which the msgpack decoder renames, as it should. */
const json = fc
  .json({ maxDepth: 5 })
  .filter((text) => !text.includes('"__proto__"'))
  .map((text): unknown => JSON.parse(text));

describe("frames of clients", () => {
  test("any JSON comes through either encoding as it is", () => {
    fc.assert(
      fc.property(json, (value) => {
        expect(decodeFrame("json", JSON.stringify(value))).toEqual(value);
        expect(decodeFrame("msgpack", pack(value))).toEqual(value);
      }),
    );
  });

  test("what a node says in msgpack is what it says in JSON", () => {
    fc.assert(
      fc.property(json, (value) => {
        const frame = frameOf("msgpack", JSON.stringify(value));
        expect(
          typeof frame === "string" ? frame : new Unpackr({ useRecords: false }).unpack(frame),
        ).toEqual(value);
        expect(frameOf("json", JSON.stringify(value))).toBe(JSON.stringify(value));
      }),
    );
  });

  test("garbage, cut-off frames and lying lengths are malformed, never anything else", () => {
    const isMalformed = (bytes: Uint8Array) => {
      try {
        decodeFrame("msgpack", bytes);
        return false;
      } catch (error) {
        expect(error).toBeInstanceOf(Malformed);
        return true;
      }
    };
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => void isMalformed(bytes)),
      { numRuns: 2000 },
    );
    fc.assert(
      fc.property(json, fc.nat(), (value, cut) => {
        const bytes = pack(value);
        expect(isMalformed(bytes.subarray(0, cut % bytes.length))).toBe(true);
      }),
    );
    for (const lie of [
      [0xdd, 255, 255, 255, 255],
      [0xdf, 255, 255, 255, 255],
      [0xdb, 255, 255, 255, 255, 65],
      [0xd9, 9],
    ])
      expect(isMalformed(new Uint8Array(lie))).toBe(true);
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          decodeFrame("json", text);
        } catch (error) {
          expect(error).toBeInstanceOf(Malformed);
        }
      }),
    );
  });

  test("msgpack that JSON cannot say is refused before it is decoded", () => {
    const refused = [
      new Uint8Array(2),
      new Date(),
      new Map([[1, 1]]),
      2n ** 60n,
      -(2n ** 60n),
      Number.NaN,
      Number.POSITIVE_INFINITY,
    ];
    for (const value of refused)
      expect(() => assertJsonMsgpack(pack({ value }))).toThrow(Malformed);
    const records = new Packr({ useRecords: true });
    expect(() => assertJsonMsgpack(records.pack({ a: 1, b: 2 }))).toThrow(Malformed);
    expect(() => assertJsonMsgpack(new Uint8Array([0xa2, 0xc3, 0x28]))).toThrow("not UTF-8");
    expect(() => assertJsonMsgpack(new Uint8Array([0x01, 0x01]))).toThrow("bytes follow");
    expect(() => assertJsonMsgpack(new Uint8Array([0xc1]))).toThrow(Malformed);
  });

  test("depth is limited, in both", () => {
    const nested = (depth: number) => `${"[".repeat(depth)}${"]".repeat(depth)}`;
    const packed = (depth: number) => new Uint8Array([...new Array(depth - 1).fill(0x91), 0x90]);
    expect(decodeFrame("json", nested(DEPTH_MAX))).toBeArray();
    expect(() => decodeFrame("json", nested(DEPTH_MAX + 1))).toThrow("nested");
    expect(() => decodeFrame("json", nested(30_000))).toThrow(Malformed);
    expect(decodeFrame("msgpack", packed(DEPTH_MAX))).toBeArray();
    expect(() => decodeFrame("msgpack", packed(DEPTH_MAX + 1))).toThrow("nested");
    expect(() => decodeFrame("msgpack", packed(60_000))).toThrow(Malformed);
  });

  test("names that objects have are only names", () => {
    const value = decodeFrame("json", '{"__proto__":{"admin":true},"constructor":1}');
    expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
    const packed = decodeFrame("msgpack", pack(JSON.parse('{"__proto__":{"admin":true}}')));
    expect(Object.getPrototypeOf(packed)).toBe(Object.prototype);
    expect(Reflect.get(Object(packed), "admin")).toBeUndefined();
  });
});

describe("the id of a malformed frame", () => {
  const deep = JSON.parse(`${"[".repeat(200)}${"]".repeat(200)}`);
  const bad = [deep, "\ud800", new Uint8Array(70_000), 2n ** 60n, new Date(), Number.NaN];

  test("is read from JSON", () => {
    expect(requestIdIn("json", '{"data":"\\ud800","id":"p7"}')).toBe("p7");
    expect(requestIdIn("json", JSON.stringify({ data: deep, id: 7 }))).toBe(7);
    for (const text of ["", "{", "[]", "7", "null", '{"id":[]}'])
      expect(requestIdIn("json", text)).toBeUndefined();
  });

  test("is read from msgpack, whatever stands before or behind it", () => {
    for (const data of bad)
      for (const frame of [
        { type: "publish", data, id: "p7" },
        { id: "p7", more: data, type: "publish", data },
      ])
        expect(requestIdIn("msgpack", pack(frame))).toBe("p7");
    expect(requestIdIn("msgpack", pack({ data: deep, id: deep }))).toBeUndefined();
    expect(requestIdIn("msgpack", pack({ data: deep, id: new Date() }))).toBeUndefined();
    expect(requestIdIn("msgpack", pack({ data: deep }))).toBeUndefined();
  });

  test("is never anything else, whatever the bytes", () => {
    const seen = fc.uint8Array({ maxLength: 100 });
    fc.assert(
      fc.property(seen, fc.boolean(), (bytes, isMap) => {
        const frame = isMap ? new Uint8Array([0x82, 0xa1, 0x61, ...bytes]) : bytes;
        expect(["undefined", "string", "number"]).toContain(typeof requestIdIn("msgpack", frame));
      }),
      { numRuns: 2000 },
    );
  });
});

describe("integers that a number cannot hold", () => {
  const changed = ["12345678901234567890", "9007199254740993", "-9007199254740993"];
  const kept = ["9007199254740991", "9007199254740992", "1e300", "18446744073709552000"];

  test("are refused where they would come out as others", () => {
    for (const integer of changed)
      expect(() => decodeFrame("json", `{"data":[1,{"a":${integer}}]}`)).toThrow(
        `${integer} cannot be held exactly`,
      );
    for (const integer of kept)
      expect(decodeFrame("json", `{"data":${integer}}`)).toEqual({ data: Number(integer) });
  });

  test("may stand in text, and behind numbers that are right", () => {
    const text = `{"a":"\\"12345678901234567890","b":1e300,"c":12345678901234567000}`;
    expect(decodeFrame("json", text)).toMatchObject({ b: 1e300 });
    expect(() => decodeFrame("json", `[1e300,${changed[0]}]`)).toThrow("exactly");
  });

  test("are refused in msgpack", () => {
    for (const value of [2n ** 60n, -(2n ** 60n)])
      expect(() => decodeFrame("msgpack", pack({ value }))).toThrow(`${value} cannot be held`);
  });
});

test("a client refuses what a node would refuse", () => {
  const isRefusedHere = (data: unknown) => {
    try {
      jsonText(data);
      return false;
    } catch {
      return true;
    }
  };
  const nested = (depth: number) => `${"[".repeat(depth)}${"]".repeat(depth)}`;
  const isRefused = (data: unknown) => {
    try {
      decodeFrame("json", JSON.stringify({ data }));
      return false;
    } catch {
      return true;
    }
  };
  for (const data of [
    ...["\ud800", "\\\ud800", "\\ud800", "\\\\ud800", "x\udfff", "\ud83d\ude00", { "\ud800": 1 }],
    ...["[".repeat(100), '"['.repeat(100), JSON.parse(nested(DATA_DEPTH_MAX))],
    ...[JSON.parse(nested(DATA_DEPTH_MAX + 1)), [JSON.parse(nested(DATA_DEPTH_MAX)), "]"]],
  ])
    expect(isRefusedHere(data)).toBe(isRefused(data));
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      expect(isRefusedHere(text)).toBe(false);
    }),
  );
});

test("the first subprotocol that we know is spoken", () => {
  expect(chooseSubprotocol(null)).toBeUndefined();
  expect(chooseSubprotocol("graphql-ws")).toBeUndefined();
  expect(chooseSubprotocol("graphql-ws, tutti.v1.msgpack ,tutti.v1.json")).toBe("tutti.v1.msgpack");
});

test("origins are compared whole", () => {
  const to = (host: string | null, isSecure = false, publicHosts: string[] = []) => ({
    host,
    isSecure,
    publicHosts,
  });
  const same = (origin: string | null, host: string | null) =>
    isOriginAllowed(origin, to(host), "same");
  expect(same(null, "a.example")).toBe(true);
  expect(same("https://a.example", "a.example")).toBe(true);
  expect(same("http://a.example:8080", "a.example:8080")).toBe(true);
  for (const origin of [
    "null",
    "http://a.example",
    "https://a.example.evil",
    "https://xa.example:8080",
    "ftp://a.example:8080",
  ])
    expect(same(origin, "a.example:8080")).toBe(false);
  expect(same("http://null", null)).toBe(false);
  const named = ["https://b.example"];
  expect(isOriginAllowed("https://b.example", to("a.example"), named)).toBe(true);
  expect(isOriginAllowed("https://a.example", to("a.example"), named)).toBe(false);
  expect(isOriginAllowed("null", to("a.example"), "*")).toBe(true);
  // Over TLS a page that came without is one that anybody on the way may have changed.
  expect(isOriginAllowed("http://a.example", to("a.example", true), "same")).toBe(false);
  expect(isOriginAllowed("https://a.example", to("a.example", true), "same")).toBe(true);
  // A name that somebody has pointed here is in both headers.
  const known = ["a.example", "b.example:8443"];
  expect(isOriginAllowed("http://evil.example", to("evil.example", false, known), "same")).toBe(
    false,
  );
  expect(isOriginAllowed("https://b.example:8443", to("10.0.0.1", true, known), "same")).toBe(true);
});
