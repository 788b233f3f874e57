// The bystanders of a storm, as the test sees them: a process of its own, so that what the test
// does to other clients does not slow them.

import { join } from "node:path";

/**
 * What a channel's publications hold: their number, and when they were published (wall clock, ms).
 */
export type Sent = { readonly n: number; readonly atMs: number };

/**
 * `latenciesMs`: from publishing to each reader. `published`: so far, per channel. `wrong`: what
 * was lost, repeated or out of order.
 */
export type Lap = {
  readonly latenciesMs: number[];
  readonly published: number;
  readonly wrong: string[];
};

export class Bystanders implements AsyncDisposable {
  readonly #child: Bun.Subprocess;
  #answer = Promise.withResolvers<Lap>();

  constructor(address: string, count: number, channels: readonly string[]) {
    const script = join(import.meta.dir, "bystander-process.ts");
    this.#child = Bun.spawn(
      [process.execPath, "--no-orphans", script, address, String(count), ...channels],
      {
        stdio: ["ignore", "inherit", "inherit"],
        ipc: (lap: Lap) => this.#answer.resolve(lap),
        onExit: () => this.#answer.reject(new Error("the bystanders have ended")),
      },
    );
  }

  /** Resolves when all of them read. */
  async ready(): Promise<void> {
    await this.#answer.promise;
  }

  async ask(what: "lap" | "stop"): Promise<Lap> {
    this.#answer = Promise.withResolvers();
    this.#child.send({ what });
    return await this.#answer.promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#answer.promise.catch(() => {});
    this.#child.kill();
    await this.#child.exited;
  }
}
