// Random values for fuzzing: everything that a fuzz run does follows from its seed.

import { below, pick, seeded } from "../../src/runtime/random.ts";

export type Random = {
  /** A whole number from 0 up to `below`. */
  below(below: number): number;
  pick<T>(among: readonly T[]): T;
  bytes(count: number): Uint8Array;
};

/** Random values from a seed and from words that name what they are for (FNV-1a). */
export function randomFrom(seed: number, ...words: (number | string)[]): Random {
  let hash = 0x811c9dc5 ^ seed;
  for (const character of words.join(" "))
    hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193);
  const next = seeded(Math.imul(hash ^ (hash >>> 16), 0x85ebca6b));
  return {
    below: (count) => below(next, count),
    pick: (among) => pick(next, among),
    bytes: (count) => Uint8Array.from({ length: count }, () => below(next, 256)),
  };
}
