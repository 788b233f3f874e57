import { describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { writeU32 } from "../../src/wire/bytes.ts";
import {
  channelIdAt,
  encodePublish,
  FRAME_BYTES_MAX,
  FrameDecoder,
  isPublicationLayout,
  offsetAt,
  opcodeOf,
  PUBLICATION,
  PUBLISH,
  payloadOf,
  producerHighAt,
  producerLowAt,
  seqAt,
  setChannelId,
  stamp,
  timeAt,
} from "../../src/wire/frame.ts";

setDefaultTimeout(60_000);

const u32 = fc.nat(0xffff_ffff);

function frame(body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(4 + body.length);
  writeU32(bytes, 0, body.length);
  bytes.set(body, 4);
  return bytes;
}

/**
 * Feeds a stream in chunks cut at the given places; returns the frames that came out, and the
 * fault.
 */
function decode(stream: Uint8Array, cuts: number[], frameBytesMax = FRAME_BYTES_MAX) {
  const decoder = new FrameDecoder(frameBytesMax);
  const frames: Buffer[] = [];
  const places = [0, ...cuts.toSorted((a, b) => a - b), stream.length];
  for (let i = 0; i + 1 < places.length; i++) {
    const fault = decoder.feed(stream.slice(places[i], places[i + 1]), (bytes, start, end) => {
      frames.push(Buffer.from(bytes.slice(start, end)));
      return true;
    });
    if (fault !== undefined) return { frames, fault };
  }
  return { frames, fault: undefined };
}

describe("FrameDecoder", () => {
  test("gives the same frames wherever the stream is cut", () => {
    const bodies = fc.array(fc.uint8Array({ minLength: 2, maxLength: 300 }), {
      minLength: 1,
      maxLength: 8,
    });
    fc.assert(
      fc.property(bodies, fc.array(fc.nat(2500), { maxLength: 12 }), (parts, cuts) => {
        const frames = parts.map((part) => Buffer.from(frame(part)));
        const stream = Buffer.concat(frames);
        const inside = cuts.filter((cut) => cut <= stream.length);
        expect(decode(stream, inside)).toEqual({ frames, fault: undefined });
      }),
    );
  });

  test("gives the same frames for every single split point, and byte by byte", () => {
    const frames = [
      frame(new Uint8Array([0x91, 5])),
      frame(new Uint8Array(40).fill(7)),
      frame(new Uint8Array([0x91, 6])),
    ];
    const stream = Buffer.concat(frames);
    const expected = frames.map((bytes) => Buffer.from(bytes));
    for (let cut = 0; cut <= stream.length; cut++)
      expect(decode(stream, [cut]).frames).toEqual(expected);
    expect(decode(stream, [...stream.keys()]).frames).toEqual(expected);
  });

  test("refuses a length that lies, as soon as it is read", () => {
    expect(decode(Buffer.from([0xff, 0xff, 0xff, 0xff]), []).fault).toBe("frame_too_long");
    expect(decode(Buffer.from([0xff, 0xff, 0xff, 0xff, 1]), [1, 2, 3]).fault).toBe(
      "frame_too_long",
    );
    expect(decode(Buffer.from([0, 0, 0, 0]), []).fault).toBe("frame_too_short");
    expect(decode(Buffer.from([0, 0, 0, 1, 0x90]), [2]).fault).toBe("frame_too_short");
  });

  test("keeps no more than it was sent, whatever length was promised", () => {
    const before = process.memoryUsage().arrayBuffers;
    const decoders = Array.from({ length: 200 }, () => {
      const decoder = new FrameDecoder(FRAME_BYTES_MAX);
      const head = new Uint8Array(10);
      writeU32(head, 0, FRAME_BYTES_MAX - 4);
      decoder.feed(head, () => true);
      return decoder;
    });
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1024 * 1024);
    expect(decoders).toHaveLength(200);
  });

  test("garbage ends in a fault or in waiting, never in a throw", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 2000 }),
        fc.array(fc.nat(2000), { maxLength: 5 }),
        (bytes, cuts) => {
          decode(
            bytes,
            cuts.filter((cut) => cut <= bytes.length),
            512,
          );
        },
      ),
    );
  });

  test("stops as soon as the receiver says so", () => {
    const stream = Buffer.concat([
      frame(new Uint8Array([0x91, 1])),
      frame(new Uint8Array([0x91, 2])),
    ]);
    let seen = 0;
    new FrameDecoder(100).feed(stream, () => ++seen > 5);
    expect(seen).toBe(1);
  });
});

describe("the layout of a publication", () => {
  test("every field comes back from where the protocol says it is", () => {
    const fields = fc.tuple(
      u32,
      u32,
      u32,
      fc.integer({ min: 1, max: 0xffff_ffff }),
      fc.uint8Array({ maxLength: 500 }),
    );
    const stamps = fc.tuple(fc.maxSafeNat(), fc.maxSafeNat());
    fc.assert(
      fc.property(fields, stamps, ([channelId, high, low, seq, payload], [offset, time]) => {
        const bytes = encodePublish(channelId, { high, low }, seq, payload);
        expect(isPublicationLayout(bytes, 0, bytes.length)).toBe(true);
        expect(opcodeOf(bytes, 0)).toBe(PUBLISH);
        stamp(bytes, 0, offset, time);
        expect(opcodeOf(bytes, 0)).toBe(PUBLICATION);
        expect([
          channelIdAt(bytes, 0),
          producerHighAt(bytes, 0),
          producerLowAt(bytes, 0),
          seqAt(bytes, 0),
        ]).toEqual([channelId, high, low, seq]);
        expect([offsetAt(bytes, 0), timeAt(bytes, 0)]).toEqual([offset, time]);
        expect(payloadOf(bytes, 0, bytes.length)).toEqual(payload);
        setChannelId(bytes, 0, 77);
        expect(channelIdAt(bytes, 0)).toBe(77);
      }),
    );
  });

  test("a frame of any other shape is not taken for a publication", () => {
    const bytes = encodePublish(1, { high: 2, low: 3 }, 4, new Uint8Array(10));
    for (const at of [4, 6, 11, 20, 29, 38, 43, 47]) {
      const changed = bytes.slice();
      changed[at] ^= 1;
      expect(isPublicationLayout(changed, 0, changed.length)).toBe(false);
    }
    expect(isPublicationLayout(bytes, 0, bytes.length - 1)).toBe(false);
  });
});
