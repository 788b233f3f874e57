// The interface of a fuzz target.

import type { Random } from "./random.ts";

export type Target = {
  readonly name: string;
  /** Its share of all inputs, relative to the other targets. */
  readonly share: number;
  /** Valid inputs, from which bad inputs are made. */
  readonly good: readonly Uint8Array[];
  /** Runs one input. Throws if the decoder misbehaves. */
  take(input: Uint8Array, random: Random): void;
};

const encoder = new TextEncoder();
export const utf8 = (text: string): Uint8Array => encoder.encode(text);

/** Throws an Error with this message unless the condition holds. */
export function must(isSo: boolean, what: string): void {
  if (!isSo) throw new Error(what);
}

/** Runs `act`, which may throw only errors of this kind; undefined: it threw one. */
export function unless<T>(kind: new (...args: never[]) => Error, run: () => T): T | undefined {
  try {
    return run();
  } catch (error) {
    if (error instanceof kind) return undefined;
    throw error;
  }
}
