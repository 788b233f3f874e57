// What every promise of the client rejects with.

import type { Fault, FaultCode } from "./steps.ts";

/** `code` is stable, the message is for people. `retry`: the same may succeed later. */
export class TuttiError extends Error {
  override name = "TuttiError";
  readonly code: FaultCode;
  readonly retry: boolean;

  constructor({ code, message, retry }: Fault) {
    super(message);
    this.code = code;
    this.retry = retry;
  }
}
