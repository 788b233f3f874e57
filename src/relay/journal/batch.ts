// The batches of the journal: what one commit writes stands behind a header that says how long it
// is and what its checksum is, so that a batch is read back whole or not at all. Pure.

import { crc32 } from "node:zlib";
import { readU32, writeU32 } from "../../wire/bytes.ts";

/**
 * `commit`: new publications and definitions, in the order in which they happened. `copy`: what was
 * copied out of a segment that is about to be freed; its publications say nothing about what is the
 * newest.
 */
export type BatchKind = "commit" | "copy";

/**
 * A header is a frame of its own, so that whoever walks along the frames passes over it: u32
 * length, a msgpack array of opcode, bytes that follow, their CRC-32, and the CRC-32 of the header
 * itself.
 */
export const BATCH_HEADER_BYTES = 21;
const OPCODE: Record<BatchKind, number> = { commit: 0x53, copy: 0x54 };
const LOST_OPCODE = 0x56;
const ARRAY_OF_1 = 0x91;
const ARRAY_OF_4 = 0x94;
const U32 = 0xce;
/** What is damaged is taken for at least so long, so that a frame fits in its place. */
const DAMAGE_BYTES_MIN = 6;
const BYTES_AT = 7;
const CHECKSUM_AT = 12;
const HEADER_CHECKSUM_AT = 17;

/** Makes one frame of what is damaged, in memory: whoever walks along the frames passes over it. */
export function eraseDamage(bytes: Uint8Array, at: number, length: number): void {
  writeU32(bytes, at, length - 4);
  bytes[at + 4] = ARRAY_OF_1;
  bytes[at + 5] = LOST_OPCODE;
}

/** Whether a frame holds nothing by itself: it is a header, or stands for what was damaged. */
export const isFiller = (opcode: number): boolean =>
  opcode === LOST_OPCODE || batchKindOf(opcode) !== undefined;

/** Of a header's opcode; undefined: it is another frame's. */
export function batchKindOf(opcode: number): BatchKind | undefined {
  if (opcode === OPCODE.commit) return "commit";
  return opcode === OPCODE.copy ? "copy" : undefined;
}

/** Writes the header at `at` of a batch that reaches to `end`. */
export function writeBatchHeader(
  bytes: Uint8Array,
  at: number,
  end: number,
  kind: BatchKind,
  segment: number,
): void {
  const begin = at + BATCH_HEADER_BYTES;
  writeU32(bytes, at, BATCH_HEADER_BYTES - 4);
  bytes[at + 4] = ARRAY_OF_4;
  bytes[at + 5] = OPCODE[kind];
  bytes[at + 6] = U32;
  writeU32(bytes, at + BYTES_AT, end - begin);
  bytes[at + 11] = U32;
  writeU32(bytes, at + CHECKSUM_AT, crc32(bytes.subarray(begin, end)));
  bytes[at + 16] = U32;
  writeU32(bytes, at + HEADER_CHECKSUM_AT, headerChecksum(bytes, at, segment));
}

/**
 * `torn`: the bytes end before the batch does. `damaged`: nothing there can be believed up to
 * `end`. `from`…`end` of a whole one are its frames.
 */
export type Batch =
  | { readonly is: "whole"; readonly from: number; readonly end: number }
  | { readonly is: "torn" }
  | { readonly is: "damaged"; readonly end: number };

/** Reads the batch that begins at `at` of a segment that is filled to `length`. */
export function readBatch(bytes: Buffer, at: number, length: number, segment: number): Batch {
  if (isHeader(bytes, at, length, segment)) {
    const from = at + BATCH_HEADER_BYTES;
    const end = from + readU32(bytes, at + BYTES_AT);
    if (end > length) return { is: "torn" };
    if (crc32(bytes.subarray(from, end)) !== readU32(bytes, at + CHECKSUM_AT))
      return { is: "damaged", end };
    return { is: "whole", from, end };
  }
  if (length - at < BATCH_HEADER_BYTES) return { is: "torn" };
  const next = nextHeader(bytes, at + DAMAGE_BYTES_MIN, length, segment);
  return { is: "damaged", end: next ?? length };
}

function isHeader(bytes: Uint8Array, at: number, length: number, segment: number): boolean {
  return (
    at + BATCH_HEADER_BYTES <= length &&
    batchKindOf(bytes[at + 5]) !== undefined &&
    readU32(bytes, at + HEADER_CHECKSUM_AT) === headerChecksum(bytes, at, segment)
  );
}

/** Where the next header begins that its checksum proves; undefined: there is none. */
function nextHeader(
  bytes: Buffer,
  from: number,
  length: number,
  segment: number,
): number | undefined {
  const begin = Buffer.from([0, 0, 0, BATCH_HEADER_BYTES - 4, ARRAY_OF_4]);
  let at = bytes.indexOf(begin, from);
  while (at !== -1 && at < length && !isHeader(bytes, at, length, segment))
    at = bytes.indexOf(begin, at + 1);
  return at === -1 || at >= length ? undefined : at;
}

/** Depends on where the header stands, so that bytes which a client chose are not taken for one. */
function headerChecksum(bytes: Uint8Array, at: number, segment: number): number {
  return crc32(bytes.subarray(at, at + HEADER_CHECKSUM_AT), (segment ^ (at << 8)) >>> 0);
}
