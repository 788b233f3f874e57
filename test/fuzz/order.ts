// The messages between the main thread and the worker of a fuzz run.

import { integer, object, type Shape, type Shaped, text } from "../../src/wire/shape.ts";

const int32s: Shape<Int32Array> = (value, field) => {
  if (value instanceof Int32Array) return value;
  throw new Error(`${field} must be an Int32Array`);
};

/**
 * `target`: the only target, or "" for all. `only`: the only input, or −1 for all. `progress`: the
 * worker's current input.
 */
export const orderShape = object({
  seed: integer(0, 0xffff_ffff),
  inputs: integer(1, Number.MAX_SAFE_INTEGER),
  target: text(0, 50),
  only: integer(-1, Number.MAX_SAFE_INTEGER),
  progress: int32s,
});
export type Order = Shaped<typeof orderShape>;

export type Word =
  | { readonly type: "begun"; readonly target: string }
  | {
      readonly type: "failed";
      readonly target: string;
      readonly input: number;
      readonly message: string;
    }
  | {
      readonly type: "done";
      readonly target: string;
      readonly inputs: number;
      readonly ms: number;
      readonly grownMb: number;
    }
  | { readonly type: "over"; readonly targets: number };
