// What publishers and subscribers record while a cluster is under test, and the rules that the
// checker applies. Types and names only.

import type { Gap, Position } from "../wire/position.ts";

/**
 * One publication, with a unique `value`; a publisher's list is in the order it published.
 * `ok`: acknowledged; `failed`: certainly refused; `unknown`: its publisher disconnected before the
 * answer; `pending`: no answer yet.
 */
export type Publication = {
  readonly channel: string;
  readonly publisher: string;
  readonly value: string;
  outcome: "ok" | "failed" | "unknown" | "pending";
  /** The position in the acknowledgement. */
  position?: Position | undefined;
};

/**
 * What a subscriber received, in order. `stands`: its position, at first, after every resume, and
 * with each gap. It should receive everything after the first position.
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
 * One subscription, from its start until the client ended it or the run ended. `isOver`: the client
 * ended it, and need not have received the latest publications.
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
  /** No history limit was exceeded, so every gap is a loss. */
  readonly isWithinHistory?: boolean;
  /**
   * The machine has lost power, so a publication may be in two lineages, and late in the second.
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
