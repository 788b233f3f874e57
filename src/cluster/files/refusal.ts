// The error of the supervisor and its commands that is shown to the operator.

/** An operation cannot be done. The message is one sentence that says why and what to do. */
export class Refusal extends Error {
  override name = "Refusal";
}
