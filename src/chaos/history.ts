// What publishers and subscribers write down while a cluster is under test, and the rules that it is
// judged by. Types and words only.

import type { Gap, Position } from "../wire/position.ts";

/**
 * One publication, in its publisher's list in the order it was published. `value` is its own: no
 * other publication has it.
 * `ok`: acknowledged; `failed`: refused for certain; `unknown`: its publisher went away before the
 * answer; `pending`: no answer yet.
 */
export type Publication = {
  readonly channel: string;
  readonly publisher: string;
  readonly value: string;
  outcome: "ok" | "failed" | "unknown" | "pending";
  /** Where the acknowledgement said it is. */
  position?: Position | undefined;
};

/**
 * What happened to a subscriber, in order. `stands`: it was told where it is, at first, after every
 * resume, and with each gap. It is owed everything that follows the first.
 */
export type ReadEvent =
  | { readonly type: "stands"; readonly position: Position; readonly gap?: Gap | undefined }
  | {
      readonly type: "message";
      readonly epoch: string;
      readonly offset: number;
      readonly value: string;
    };

/**
 * One subscription from its beginning until it was given up, or the end. `isOver`: it was given up,
 * and is not owed the end.
 */
export type Reading = {
  readonly reader: string;
  readonly channel: string;
  readonly events: readonly ReadEvent[];
  readonly isOver?: boolean;
};

export type History = {
  readonly publications: readonly Publication[];
  readonly readings: readonly Reading[];
  /** No policy or memory was exceeded: then a gap is a loss, told or not. */
  readonly isWithinHistory?: boolean;
  /**
   * The machine has lost power: then a publication may stand in two lineages, and come late into
   * the second.
   */
  readonly hasLostPower?: boolean;
};

export const RULES = {
  C1: "lost",
  C2: "repeated",
  C3: "two values in one place",
  C4: "went back",
  C5: "skipped without being told",
  C6: "never published",
  C7: "reordered",
  C8: "not arrived by the end",
} as const;
export type Rule = keyof typeof RULES;
export type Violation = { readonly rule: Rule; readonly line: string };

export type Report = (rule: Rule, line: string) => void;
