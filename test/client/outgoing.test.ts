import { describe, expect, test } from "bun:test";
import { assertFrame, jsonText } from "../../src/client/outgoing.ts";
import { decodeFrame } from "../../src/node/codec/encoding.ts";
import { DATA_DEPTH_MAX } from "../../src/wire/json-text.ts";

const nested = (depth: number): unknown => (depth === 0 ? 1 : [nested(depth - 1)]);
const circle: unknown[] = [];
circle.push(circle);

describe("data", () => {
  test.each([
    ["undefined", undefined, "data is undefined, which JSON cannot say"],
    ["a function", () => 1, "data is a function, which JSON cannot say"],
    ["a symbol", Symbol("s"), "data is a symbol, which JSON cannot say"],
    ["a bigint", { price: 1n }, "data.price is a bigint, which JSON cannot say"],
    ["a function inside", { list: [{ act() {} }] }, "data.list[0].act is a function"],
    ["undefined in a list", [1, undefined], "data[1] is undefined"],
    ["not a number", [Number.NaN], "data[0] is NaN, which JSON cannot say"],
    ["half an emoji", { text: "\ud83d" }, "data.text holds half a surrogate pair"],
    ["half an emoji in a name", { "\ud800": 1 }, "a name in data holds half a surrogate pair"],
    ["too much within each other", nested(DATA_DEPTH_MAX + 1), "is nested over 63 deep"],
    ["itself", circle, "is nested over 63 deep"],
  ])("is refused where it is %s", (_, data, message) => {
    expect(() => jsonText(data)).toThrow(message);
    expect(() => jsonText(data)).toThrow(expect.objectContaining({ code: "bad_frame" }));
  });

  test("is taken where JSON can say it, and then a node takes it", () => {
    const date = new Date(0);
    const data = [null, true, "😀", 1.5, { left: undefined, date }, nested(DATA_DEPTH_MAX - 1)];
    const text = jsonText(data);
    expect(text).toBe(JSON.stringify(data));
    expect(decodeFrame("json", `{"type":"publish","data":${text}}`)).toBeDefined();
  });

  test("as deep as it may be is what a node takes, and one more is not", () => {
    const frame = (data: unknown) => `{"data":${JSON.stringify(data)}}`;
    expect(jsonText(nested(DATA_DEPTH_MAX))).toBeString();
    expect(decodeFrame("json", frame(nested(DATA_DEPTH_MAX)))).toBeDefined();
    expect(() => decodeFrame("json", frame(nested(DATA_DEPTH_MAX + 1)))).toThrow();
  });
});

describe("requests", () => {
  test.each([
    [{ type: "subscribe", channel: "two words" }, "channel must be"],
    [{ type: "subscribe", channel: "\ud800" }, "channel must be"],
    [{ type: "subscribe", channel: "a", last: 1001 }, "last must be"],
    [{ type: "subscribe", channel: "a", since: { epoch: "e", offset: -1 } }, "since.offset"],
    [{ type: "subscribe", channel: "a", since: { epoch: "\ud800", offset: 1 } }, "since.epoch"],
    [{ type: "subscribe", channel: "a", since: { epoch: "e", offset: 1 }, last: 1 }, "not both"],
    [{ type: "history", channel: "a", limit: 0 }, "limit must be"],
    [{ type: "call", method: "" }, "method must be"],
    [{ type: "call", method: "\udc00" }, "method holds half a surrogate pair"],
    [{ type: "publish", channel: "a", data: null, key: "" }, "key must be"],
    [{ type: "publish", channel: "a", data: null, key: "\ud800" }, "key holds half"],
  ])("%j is refused on this side", (frame, message) => {
    expect(() => assertFrame(frame)).toThrow(message);
  });
});
