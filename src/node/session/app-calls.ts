// How the app's functions are called on behalf of a client, and what their failures become.

import type { RequestId } from "../../wire/client-messages.ts";
import { isThenable } from "../app/authentication.ts";
import { isRefused, NotPublished } from "../app/index.ts";
import type { ClientSession } from "./session.ts";

/** Where it is a promise, the session's next request has to wait for it. It never rejects. */
export type Answered = Promise<void> | undefined;

/**
 * Runs a function of the app, then goes on with what it returns, unless the client has left
 * meanwhile.
 */
export function ask<T>(
  session: ClientSession,
  run: () => T | PromiseLike<T>,
  then: (result: T) => void,
  failed: (error: unknown) => void,
): Answered {
  const goOn = (result: T) => {
    if (session.isOpen) then(result);
  };
  try {
    const result = run();
    if (isThenable(result)) return Promise.resolve(result).then(goOn).catch(failed);
    goOn(result);
  } catch (error) {
    failed(error);
  }
  return undefined;
}

/**
 * Answers with what the app (or we) threw: its words where it means them for the client, else only
 * that it failed.
 */
export function sendFailure(
  session: ClientSession,
  id: RequestId | undefined,
  error: unknown,
  where = "the app",
): void {
  if (isRefused(error)) return session.sendError(id, "refused", error.message);
  if (error instanceof NotPublished) return session.sendError(id, error.code, error.message);
  session.desk.failed(where, error, session.id);
  return session.sendError(id, "internal");
}

/** Throws where JSON has no word for the value. */
export function jsonOf(data: unknown): string {
  const json: string | undefined = JSON.stringify(data);
  if (json === undefined) throw new TypeError("what the app returned is not JSON");
  return json;
}
