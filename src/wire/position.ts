// Positions: where a reader stands in a channel, and what it can be given next. The one rule of
// resuming, used by the relay over its history and by a node over its recent frames.

import { integer, object, oneOf, type Shaped, text } from "./shape.ts";

/**
 * The largest offset. Offsets travel as JSON numbers, and the offset after a reader's is named too:
 * in a gap, and as the first that a channel remembers.
 */
export const OFFSET_MAX = Number.MAX_SAFE_INTEGER - 1;

export const epochShape = text(1, 32);
export const offsetShape = integer(0, OFFSET_MAX);
/** An offset, or the one after the largest. */
export const nextOffsetShape = integer(0, OFFSET_MAX + 1);
/**
 * {epoch, offset}: the last publication of a channel that a reader has handled; offset 0 is
 * "nothing yet".
 */
export const positionShape = object({ epoch: epochShape, offset: offsetShape });
export type Position = Shaped<typeof positionShape>;

/**
 * Why publications are out of reach. `expired`: the channel's policy; `evicted`: no room; `epoch`:
 * another lineage; `slow`: the reader lagged.
 */
export const GAP_REASONS = ["expired", "evicted", "epoch", "slow"] as const;
export type GapReason = (typeof GAP_REASONS)[number];

/**
 * Publications `from`…`to` (offsets, both included) are out of reach for this reader. With `epoch`,
 * `from` counts in the old lineage.
 */
export const gapFields = {
  reason: oneOf(...GAP_REASONS),
  from: nextOffsetShape,
  to: offsetShape,
} as const;
export const gapShape = object(gapFields);
export type Gap = Readonly<Shaped<typeof gapShape>>;

/**
 * What can be read of a channel: `first`…`top`, none when first is top + 1. `trimmed`: why what
 * lies before `first` is gone.
 */
export type Readable = {
  readonly epoch: string;
  readonly first: number;
  readonly top: number;
  readonly trimmed: "expired" | "evicted";
};

/** A reader gets what follows `after`; `gap` says what it has missed for good. */
export type Resume = { readonly after: number; readonly gap: Gap | null };

/**
 * Where a reader that stands at `since` goes on. Another epoch, or a position that this lineage has
 * never reached, can prove nothing about what was missed: the reader starts at the top and is told.
 */
export function resume(since: Position, readable: Readable): Resume {
  if (since.epoch !== readable.epoch || since.offset > readable.top)
    return {
      after: readable.top,
      gap: { reason: "epoch", from: since.offset + 1, to: readable.top },
    };
  if (since.offset + 1 >= readable.first) return { after: since.offset, gap: null };
  return {
    after: readable.first - 1,
    gap: { reason: readable.trimmed, from: since.offset + 1, to: readable.first - 1 },
  };
}
