// The app's hooks by name, and what becomes of one that does not answer.

/** A function of the app that decides about what a client wants. */
export type Hook = {
  readonly name: "connect" | "subscribe" | "publish";
  /** Undefined for `connect`. */
  readonly channel?: string;
};

/** A hook has not answered within `limits.hookTimeoutMs`. What it answers later is dropped. */
export class HookTimeout extends Error {
  override name = "HookTimeout";
  readonly hook: Hook;

  constructor(hook: Hook) {
    super(`the app's ${hook.name} has not answered in time`);
    this.hook = hook;
  }
}
