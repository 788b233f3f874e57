// What a question of the benchmark is: how it is asked, and how its answer is printed.

import { type Measurement, median } from "./measure.ts";

export type Column = {
  /** The figure's name in a measurement. */
  readonly figure: string;
  readonly title: string;
  readonly digits: number;
};

export type Scale = {
  /** Few and short rounds: a first impression. */
  readonly isQuick: boolean;
  readonly rounds: number;
  /** Says something while it runs. */
  note(text: string): void;
};

export type Question = {
  /** As typed after --only. */
  readonly name: string;
  readonly asks: string;
  /** What is measured how, in a sentence or two. */
  readonly method: string;
  readonly columns: readonly Column[];
  /**
   * The figure that the plot shows, and whether as bars by case or as lines over the numbers with
   * which cases end.
   */
  readonly plot: {
    readonly figure: string;
    readonly title: string;
    readonly kind: "bars" | "lines";
  };
  run(scale: Scale): Promise<Measurement[]>;
};

/**
 * The table of an answer, in Markdown: a block a case, medians with (min – max), and ratios to the
 * first contestant's.
 */
export function tableOf({ columns, plot }: Question, measurements: readonly Measurement[]): string {
  const hasRivals = new Set(measurements.map(({ who }) => who)).size > 1;
  const head = [
    "",
    ...columns.map(({ title }) => title),
    ...(hasRivals ? [`${plot.title}, to ours`] : []),
  ];
  const rows: string[][] = [];
  for (const what of new Set(measurements.map((each) => each.what))) {
    const those = measurements.filter((each) => each.what === what);
    rows.push([`**${what}**`, ...head.slice(1).map(() => "")]);
    const ours = median(those[0].figures[plot.figure] ?? []);
    for (const { who, figures } of those) {
      const ratio = median(figures[plot.figure] ?? []) / ours;
      rows.push([
        who,
        ...columns.map(({ figure, digits }) => spread(figures[figure] ?? [], digits)),
        ...(hasRivals ? [Number.isFinite(ratio) ? `× ${ratio.toFixed(2)}` : ""] : []),
      ]);
    }
  }
  const widths = head.map((_, column) =>
    Math.max(3, ...[head, ...rows].map((row) => row[column].length)),
  );
  const line = (cells: string[]) =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column])).join(" | ")} |`;
  return [line(head), line(widths.map((width) => "-".repeat(width))), ...rows.map(line)].join("\n");
}

function spread(numbers: readonly number[], digits: number): string {
  if (numbers.length === 0) return "";
  const show = (value: number) =>
    value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  if (numbers.length === 1) return show(numbers[0]);
  return `${show(median(numbers))} (${show(Math.min(...numbers))} – ${show(Math.max(...numbers))})`;
}
