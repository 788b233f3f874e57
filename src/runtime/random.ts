// Seeded random numbers, so that a run can be repeated. Pure.

/** From 0 up to 1. */
export type Random = () => number;

/** mulberry32: the same numbers for the same seed, on every machine. */
export function seeded(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
}

/** A whole number from 0 to `count` − 1. */
export const below = (random: Random, count: number): number => Math.floor(random() * count);

/** One element of a list that is not empty. */
export const pick = <T>(random: Random, from: readonly T[]): T => from[below(random, from.length)];

export const between = (random: Random, low: number, high: number): number =>
  low + random() * (high - low);

/** One of the names, with a probability in proportion to its weight. */
export function weighted<K extends string>(
  random: Random,
  weights: Readonly<Record<K, number>>,
): K {
  const names = Object.keys(weights).filter((name): name is K => Object.hasOwn(weights, name));
  let left = random() * names.reduce((sum, name) => sum + weights[name], 0);
  for (const name of names) {
    left -= weights[name];
    if (left < 0) return name;
  }
  return names[0];
}
