// The one error of the supervisor and its commands that is the operator's to read.

/** What was asked for cannot be done. The message is one sentence that says why and what to do. */
export class Refusal extends Error {
  override name = "Refusal";
}
