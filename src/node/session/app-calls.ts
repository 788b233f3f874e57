// How the app's functions are called for a client, and what the client is told when they fail.

import type { RequestId } from "../../wire/client-messages.ts";
import { ERRORS } from "../../wire/codes.ts";
import { isThenable } from "../app/authentication.ts";
import { type Hook, HookTimeout } from "../app/hooks.ts";
import { isRefused, NotPublished } from "../app/index.ts";
import type { RequestingSession } from "./session-context.ts";

/** A promise: the session's next request waits for it. It never rejects. */
export type Answered = Promise<void> | undefined;

/** Runs a function of the app, then `then` with its result, unless the client has left by then. */
export function callApp<T>(
  session: RequestingSession,
  run: () => T | PromiseLike<T>,
  then: (result: T) => void,
  failed: (error: unknown) => void,
): Answered {
  const proceed = (result: T) => {
    if (session.isOpen) then(result);
  };
  try {
    const result = run();
    if (isThenable(result)) return Promise.resolve(result).then(proceed).catch(failed);
    proceed(result);
  } catch (error) {
    failed(error);
  }
  return undefined;
}

/** As callApp; where the hook does not answer in time, `failed` gets a HookTimeout. */
export function callHook<T>(
  session: RequestingSession,
  hook: Hook,
  run: () => T | PromiseLike<T>,
  then: (result: T) => void,
  failed: (error: unknown) => void,
): Answered {
  const runInTime = () => {
    const result = run();
    return isThenable(result) ? session.awaitHook(hook, result) : result;
  };
  return callApp(session, runInTime, then, failed);
}

/**
 * Answers with what was thrown: its message where it is meant for the client, else "internal".
 * `mayRetry`: the client may ask again after an "internal".
 */
export function sendFailure(
  session: RequestingSession,
  id: RequestId | undefined,
  error: unknown,
  where = "the app",
  mayRetry: boolean = ERRORS.internal.retry,
): void {
  if (error instanceof HookTimeout) {
    session.context.hookTimedOut(error.hook, session.id);
    return session.sendError(id, "busy");
  }
  if (isRefused(error)) return session.sendError(id, "refused", error.message);
  if (error instanceof NotPublished) return session.sendError(id, error.code, error.message);
  session.context.failed(where, error, session.id);
  return session.sendError(id, "internal", undefined, mayRetry);
}

/** Throws where the value has no JSON. */
export function jsonOf(data: unknown): string {
  const json: string | undefined = JSON.stringify(data);
  if (json === undefined) throw new TypeError("what the app returned is not JSON");
  return json;
}
