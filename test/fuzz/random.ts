// Seeded randomness: a fuzz run is determined by its seed.

export type Random = {
  /** A whole number from 0 up to `below`. */
  below(below: number): number;
  pick<T>(among: readonly T[]): T;
  bytes(count: number): Uint8Array;
};

/** sfc32 over a seed and words that name its purpose. */
export function randomFrom(seed: number, ...words: (number | string)[]): Random {
  let [a, b, c, counter] = [0x9e3779b9, 0x243f6a88, seed | 0, 1];
  const next = (): number => {
    const sum = (((a + b) | 0) + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum;
    return sum >>> 0;
  };
  for (const character of words.join(" ")) {
    a ^= character.charCodeAt(0);
    next();
  }
  for (let round = 0; round < 12; round++) next();
  const below = (limit: number) => Math.floor((next() / 0x1_0000_0000) * limit);
  return {
    below,
    pick: (among) => among[below(among.length)],
    bytes: (count) => Uint8Array.from({ length: count }, () => next() & 0xff),
  };
}
