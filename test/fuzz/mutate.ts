// Mutates valid input: truncated, flipped, repeated, spliced, and with false lengths.

import { writeU32 } from "../../src/wire/bytes.ts";
import type { Random } from "./random.ts";

const NUMBERS = [
  0, 1, 2, 3, 4, 5, 47, 48, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000, 0x10_0030, 0x7fff_ffff,
  0xffff_ffff,
];
const BYTES = [
  0, 0x0a, 0x0d, 0x20, 0x22, 0x3a, 0x5c, 0x7b, 0x7f, 0x80, 0x90, 0x97, 0xc1, 0xc4, 0xc6, 0xd4, 0xdd,
  0xdf, 0xff,
];
const LONGEST = 200_000;

const joined = (...parts: Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts));

type Mutation = (bytes: Uint8Array, random: Random, others: readonly Uint8Array[]) => Uint8Array;

const flipBit: Mutation = (bytes, random) => {
  const flipped = bytes.slice();
  if (flipped.length > 0) flipped[random.below(flipped.length)] ^= 1 << random.below(8);
  return flipped;
};
const putByte: Mutation = (bytes, random) => {
  const changed = bytes.slice();
  if (changed.length > 0) changed[random.below(changed.length)] = random.pick(BYTES);
  return changed;
};
const putNumber: Mutation = (bytes, random) => {
  if (bytes.length < 4) return random.bytes(random.below(8));
  const changed = bytes.slice();
  writeU32(changed, random.below(bytes.length - 3), random.pick(NUMBERS));
  return changed;
};
const truncate: Mutation = (bytes, random) => bytes.subarray(0, random.below(bytes.length + 1));
const insert: Mutation = (bytes, random) => {
  const at = random.below(bytes.length + 1);
  return joined(bytes.subarray(0, at), random.bytes(1 + random.below(8)), bytes.subarray(at));
};
const remove: Mutation = (bytes, random) => {
  const at = random.below(bytes.length + 1);
  return joined(bytes.subarray(0, at), bytes.subarray(at + 1 + random.below(8)));
};
const repeat: Mutation = (bytes, random) => {
  const from = random.below(bytes.length + 1);
  const to = from + random.below(bytes.length - from + 1);
  const times = 1 + random.below(to - from < 16 ? 300 : 4);
  return joined(
    bytes.subarray(0, to),
    ...Array<Uint8Array>(times).fill(bytes.subarray(from, to)),
    bytes.subarray(to),
  );
};
const splice: Mutation = (bytes, random, others) => {
  const other = random.pick(others);
  return joined(
    bytes.subarray(0, random.below(bytes.length + 1)),
    other.subarray(random.below(other.length + 1)),
  );
};
const follow: Mutation = (bytes, random, others) => joined(bytes, random.pick(others));
const garbage: Mutation = (_, random) => random.bytes(random.below(300));

const MUTATIONS = [
  flipBit,
  flipBit,
  putByte,
  putByte,
  putNumber,
  putNumber,
  truncate,
  insert,
  remove,
  repeat,
  splice,
  follow,
];

/** One input: a valid one with one to six mutations, or sometimes pure garbage. */
export function badInput(good: readonly Uint8Array[], random: Random): Uint8Array {
  if (random.below(50) === 0) return garbage(new Uint8Array(0), random, good);
  let bytes = random.pick(good);
  for (let changes = 1 + random.below(6); changes > 0; changes--)
    bytes = random.pick(MUTATIONS)(bytes, random, good);
  return bytes.subarray(0, LONGEST);
}

/** The same bytes, split into pieces. */
export function cut(bytes: Uint8Array, random: Random): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; ) {
    const taken = 1 + random.below(random.below(4) === 0 ? 4 : bytes.length);
    pieces.push(bytes.slice(at, at + taken));
    at += taken;
  }
  return pieces;
}
