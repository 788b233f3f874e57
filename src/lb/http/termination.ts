// Why an exchange did not end as it should: the kinds that are counted, and the two letters by
// which the access log names who ended it and at what point. Pure.

/**
 * `C` the client went, `c` it was too slow; `S` a node went or refused, `s` it was too slow; `P`
 * the lb would not; `R` a limit.
 */
const BLAMED = {
  clientAborted: "C",
  clientTimeout: "c",
  noNode: "S",
  connectRefused: "S",
  earlyClose: "S",
  queueTimeout: "s",
  connectTimeout: "s",
  responseTimeout: "s",
  badRequest: "P",
  badAnswer: "P",
  stopped: "P",
  limited: "R",
  queueFull: "R",
} as const;
export type TerminationCause = keyof typeof BLAMED;

/**
 * Request head, queue, connecting, waiting for the answer's head, data of either body, the last of
 * an answer that only the client has yet to take, tunnel.
 */
export type TerminationStage = "R" | "Q" | "C" | "H" | "D" | "L" | "T";

/** Failures that belong to one stage, whenever they are found out. */
const STAGES: Partial<Record<TerminationCause, TerminationStage>> = {
  noNode: "Q",
  queueTimeout: "Q",
  queueFull: "Q",
  connectRefused: "C",
  connectTimeout: "C",
  limited: "R",
};

/** The two letters; `--` for an end as it should be. */
export function terminationState(
  failure: TerminationCause | undefined,
  stage: TerminationStage,
): string {
  if (failure === undefined) return "--";
  // A request that waits to be sent again is where it was lost, when that is what becomes of it.
  const where = failure === "earlyClose" && stage === "Q" ? "H" : stage;
  return BLAMED[failure] + (STAGES[failure] ?? where);
}

/** Every kind, for tables of counts. */
export const zeroByCause = (): Record<TerminationCause, number> => ({
  clientAborted: 0,
  clientTimeout: 0,
  noNode: 0,
  connectRefused: 0,
  earlyClose: 0,
  queueTimeout: 0,
  connectTimeout: 0,
  responseTimeout: 0,
  badRequest: 0,
  badAnswer: 0,
  stopped: 0,
  limited: 0,
  queueFull: 0,
});
