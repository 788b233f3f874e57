// Why an exchange did not end normally: the causes that are counted, and the two characters by
// which the access log names cause and stage. Pure.

/**
 * `C` client disconnected, `c` client timed out; `S` node disconnected, refused or unavailable, `s`
 * node timed out; `P` refused by the lb; `R` limit reached.
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
 * Request head, queue, connecting, waiting for the response head, data of either body, the rest of
 * a response that only the client has not read, tunnel.
 */
export type TerminationStage = "R" | "Q" | "C" | "H" | "D" | "L" | "T";

/** Causes with a fixed stage, whenever they are detected. */
const STAGES: Partial<Record<TerminationCause, TerminationStage>> = {
  noNode: "Q",
  queueTimeout: "Q",
  queueFull: "Q",
  connectRefused: "C",
  connectTimeout: "C",
  limited: "R",
};

/** The two characters; `--`: a normal end. */
export function terminationState(
  failure: TerminationCause | undefined,
  stage: TerminationStage,
): string {
  if (failure === undefined) return "--";
  // A request that is queued for a retry failed while it waited for the response head.
  const where = failure === "earlyClose" && stage === "Q" ? "H" : stage;
  return BLAMED[failure] + (STAGES[failure] ?? where);
}

/** A zero count for every cause. */
export const zeroByCause = (): Record<string, number> =>
  Object.fromEntries(Object.keys(BLAMED).map((cause) => [cause, 0]));
