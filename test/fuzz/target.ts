// What a decoder has to offer to be fuzzed.

import type { Random } from "./random.ts";

export type Target = {
  readonly name: string;
  /** How large its part of all inputs is, compared with the others'. */
  readonly share: number;
  /** Input that is good, of which bad input is made. */
  readonly good: readonly Uint8Array[];
  /** Takes one input in. Throws when that does what no input may do. */
  take(input: Uint8Array, random: Random): void;
};

const encoder = new TextEncoder();
export const utf8 = (text: string): Uint8Array => encoder.encode(text);

/** Throws an Error that names what should have been so. */
export function must(isSo: boolean, what: string): void {
  if (!isSo) throw new Error(what);
}

/** Runs what may throw errors of this kind, and no others. Undefined: it did. */
export function unless<T>(kind: new (...args: never[]) => Error, run: () => T): T | undefined {
  try {
    return run();
  } catch (error) {
    if (error instanceof kind) return undefined;
    throw error;
  }
}
