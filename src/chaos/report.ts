// Formats the verdict of a run as text. Pure.

import type { Rule } from "./history.ts";
import type { Spread } from "./ledger.ts";
import type { Verdict } from "./run.ts";

const LINES_MAX = 20;

/** The counts that must be 0, each with the checker rules that it sums. */
const COUNTS: Readonly<Record<string, readonly Rule[]>> = {
  lost: ["C1", "C8"],
  repeated: ["C2"],
  reordered: ["C4", "C7"],
  "untold gaps": ["C5"],
  "false messages": ["C3", "C6"],
};

const pausedHeading = (what: string): string => `${what} paused, ms`.padStart(24);

export const isPassed = ({ violations, failures, acknowledged }: Verdict): boolean =>
  violations.length === 0 && failures.length === 0 && acknowledged > 0;

export function reportOf(verdict: Verdict): string[] {
  const {
    violations,
    failures,
    faults,
    published,
    acknowledged,
    refused,
    deliveries,
    gaps,
    quietMs,
  } = verdict;
  const counts = Object.entries(COUNTS).map(
    ([name, rules]) => `${name} ${violations.filter(({ rule }) => rules.includes(rule)).length}`,
  );
  const width = Math.max(8, ...faults.map(({ kind }) => kind.length));
  const row = (cells: readonly string[]) =>
    `  ${cells[0].padEnd(width)}${cells
      .slice(1)
      .map((cell) => cell.padStart(8))
      .join("")}`;
  const spread = ({ p50, p99, max }: Spread) => [p50, p99, max].map(String);
  return [
    "",
    `  ${"".padEnd(width + 8)}${pausedHeading("publishing")}${pausedHeading("delivery")}`,
    row(["fault", "times", "p50", "p99", "max", "p50", "p99", "max"]),
    ...faults.map(({ kind, count, publishing, delivery }) =>
      row([kind, String(count), ...spread(publishing), ...spread(delivery)]),
    ),
    "",
    `publications  ${acknowledged} acknowledged of ${published}, ${refused} refused`,
    `deliveries    ${deliveries}, the last ${quietMs} ms after the faults ended`,
    `gaps told     ${gaps}`,
    counts.join(" · "),
    ...violations.slice(0, LINES_MAX).map(({ line }) => `  ${line}`),
    ...(violations.length > LINES_MAX ? [`  … and ${violations.length - LINES_MAX} more`] : []),
    ...failures.map((failure) => `  ${failure}`),
    isPassed(verdict) ? "PASSED: nothing was lost, repeated or reordered." : "FAILED",
  ];
}
