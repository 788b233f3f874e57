// What an attack did and what the others noticed of it, as a row of a table. Pure.

/** How often each thing was seen, by its name. */
export type Tally = Record<string, number>;

/** One process's memory in RAM, MB. */
export type MemoryMb = { readonly before: number; readonly peak: number; readonly after: number };

export type Outcome = {
  readonly attack: string;
  readonly did: string;
  /** What the attackers were told: codes of answers and closes. */
  readonly told: Tally;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** The bystanders' publications; `delivered` counts a publication once for each reader. */
  readonly published: number;
  readonly acknowledged: number;
  readonly delivered: number;
  readonly expected: number;
  /** Bystanders that lost their connection, by node and close code. */
  readonly closed: Tally;
  readonly restarts: Tally;
  readonly memoryMb: Readonly<Record<string, MemoryMb>>;
  /** What should not have happened; nothing, where the cluster stood. */
  readonly wrong: readonly string[];
};

const WRONG_SHOWN = 4;
const HEADS = [
  ...["attack", "what was done", "the attackers were told", "p50 / p99 ms"],
  ...["acknowledged", "delivered", "others closed", "restarts", "memory MB", "verdict"],
];

export function add(tally: Tally, name: string, count = 1): void {
  tally[name] = (tally[name] ?? 0) + count;
}

const listed = (tally: Tally): string =>
  Object.entries(tally)
    .map(([name, count]) => `${name}: ${count}`)
    .join(", ") || "none";

/** A process that is gone has no memory. */
const rounded = (mb: number): string => (Number.isNaN(mb) ? "gone" : mb.toFixed(0));

function row(outcome: Outcome): string[] {
  const { wrong } = outcome;
  const more = wrong.length > WRONG_SHOWN ? [`and ${wrong.length - WRONG_SHOWN} more`] : [];
  return [
    outcome.attack,
    outcome.did,
    listed(outcome.told),
    `${outcome.p50Ms.toFixed(1)} / ${outcome.p99Ms.toFixed(1)}`,
    `${outcome.acknowledged} of ${outcome.published}`,
    `${outcome.delivered} of ${outcome.expected}`,
    listed(outcome.closed),
    listed(outcome.restarts),
    Object.entries(outcome.memoryMb)
      .map(([id, { before, peak, after }]) =>
        [`${id}:`, ...[before, peak, after].map(rounded)].join(" "),
      )
      .join(", "),
    wrong.length === 0
      ? "stood"
      : `FAILED: ${[...wrong.slice(0, WRONG_SHOWN), ...more].join("; ")}`,
  ];
}

/** The outcomes as a Markdown table. Memory: before, at its peak, after. */
export function table(outcomes: readonly Outcome[]): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|").replaceAll("\n", " ")).join(" | ")} |`;
  return [
    line(HEADS),
    line(HEADS.map(() => "---")),
    ...outcomes.map((each) => line(row(each))),
  ].join("\n");
}

export const allStood = (outcomes: readonly Outcome[]): boolean =>
  outcomes.every(({ wrong }) => wrong.length === 0);
