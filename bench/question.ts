// Defines a question of the benchmark, and formats its measurements as a table.

import { type Measurement, median } from "./measure.ts";

export type Column = {
  /** The figure's name in a measurement. */
  readonly figure: string;
  readonly title: string;
  readonly digits: number;
};

export type Scale = {
  /** Fewer and shorter rounds. */
  readonly isQuick: boolean;
  readonly rounds: number;
  /** Prints progress. */
  note(text: string): void;
};

export type Question = {
  /** The value for --only. */
  readonly name: string;
  readonly asks: string;
  /** What is measured and how, in a few sentences. */
  readonly method: string;
  readonly columns: readonly Column[];
  /** The plotted figure: bars by case, or lines over the numbers at the end of the cases. */
  readonly plot: {
    readonly figure: string;
    readonly title: string;
    readonly kind: "bars" | "lines";
  };
  run(scale: Scale): Promise<Measurement[]>;
};

/**
 * Formats measurements as a Markdown table: one block per case, medians with (min – max), and the
 * ratio to the first contestant.
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
