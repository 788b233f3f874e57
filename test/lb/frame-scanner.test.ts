// The code of a close frame, found behind any frames, however the stream is cut.

import { expect, test } from "bun:test";
import fc from "fast-check";
import { FrameScanner } from "../../src/lb/proxying/frame-scanner.ts";
import { cut, places } from "./generated-heads.ts";

const MASK = [0x12, 0x34, 0x56, 0x78];

function frame(opcode: number, content: Uint8Array, isMasked: boolean): Buffer {
  const { length } = content;
  const mask = isMasked ? 0x80 : 0;
  const head =
    length < 126
      ? [mask | length]
      : length < 65_536
        ? [mask | 126, length >> 8, length & 0xff]
        : [mask | 127, 0, 0, 0, 0, 0, length >> 16, (length >> 8) & 0xff, length & 0xff];
  const body = isMasked ? content.map((byte, at) => byte ^ MASK[at % 4]) : content;
  return Buffer.from([0x80 | opcode, ...head, ...(isMasked ? MASK : []), ...body]);
}

function codeIn(pieces: readonly Buffer[]): number | undefined {
  const reader = new FrameScanner();
  for (const piece of pieces) reader.read(piece);
  return reader.code;
}

const content = fc.oneof(
  fc.uint8Array({ maxLength: 200 }),
  // What looks like close frames is content.
  fc.constant(Uint8Array.from([0x88, 0x02, 0x0f, 0xa1, 0x88, 0x00])),
  fc.constantFrom(125, 126, 127, 65_535, 65_536).map((length) => new Uint8Array(length).fill(0x88)),
);
const messages = fc.array(fc.tuple(fc.constantFrom(0, 1, 2, 9, 10), content), { maxLength: 6 });

test("the first close frame counts, wherever the stream is cut", () => {
  fc.assert(
    fc.property(messages, fc.boolean(), fc.nat(0xffff), places, (before, isMasked, code, at) => {
      const frames = before.map(([opcode, each]) => frame(opcode, each, isMasked));
      const close = frame(8, Buffer.from([code >> 8, code & 0xff, 0x62, 0x79, 0x65]), isMasked);
      const after = frame(8, Buffer.from([0x03, 0xe8]), isMasked);
      expect(codeIn(cut(Buffer.concat(frames), at))).toBeUndefined();
      expect(codeIn(cut(Buffer.concat([...frames, close, after]), at))).toBe(code);
    }),
  );
});

test("every split point of one stream gives the same", () => {
  for (const isMasked of [false, true]) {
    const code = Buffer.from([0x11, 0x3a]);
    const whole = Buffer.concat([
      frame(1, Buffer.alloc(126), isMasked),
      frame(2, Buffer.alloc(3), isMasked),
      frame(8, code, isMasked),
    ]);
    for (let first = 0; first <= whole.length; first++)
      for (let second = first; second <= whole.length; second++)
        expect(codeIn(cut(whole, [first, second]))).toBe(4410);
  }
});

test("a close frame without a code is 1005", () => {
  for (const isMasked of [false, true])
    expect(codeIn([frame(8, Buffer.alloc(0), isMasked)])).toBe(1005);
});

test("bytes that are no frames never throw", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ minLength: 1, maxLength: 40 })), (pieces) => {
      const code = codeIn(pieces.map((piece) => Buffer.from(piece)));
      expect(code === undefined || (code >= 0 && code <= 0xffff)).toBe(true);
    }),
  );
});
