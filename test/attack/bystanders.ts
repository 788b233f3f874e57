// The bystanders as an attack's test sees them: in a process of their own, so that attacking does
// not slow them.

import { join } from "node:path";
import type { Tally } from "./report.ts";

/** See Outcome. `latenciesMs`: from publishing to each reader. */
export type Notes = {
  readonly latenciesMs: number[];
  published: number;
  acknowledged: number;
  delivered: number;
  expected: number;
  readonly closed: Tally;
  readonly wrong: string[];
};

export class Bystanders implements AsyncDisposable {
  readonly #child: Bun.Subprocess;
  #answer = Promise.withResolvers<Notes>();

  /** Resolves when all of them read and publish. */
  static async open(address: string, pairs: number): Promise<Bystanders> {
    const bystanders = new Bystanders(address, pairs);
    await bystanders.#answer.promise;
    return bystanders;
  }

  private constructor(address: string, pairs: number) {
    const script = join(import.meta.dir, "bystander-process.ts");
    this.#child = Bun.spawn([process.execPath, "--no-orphans", script, address, String(pairs)], {
      stdio: ["ignore", "inherit", "inherit"],
      ipc: (notes: Notes) => this.#answer.resolve(notes),
      onExit: () => this.#answer.reject(new Error("the bystanders have ended")),
    });
  }

  /**
   * Ends their publishing; resolves to all that they have seen, once everything is acknowledged and
   * delivered or the time is over.
   */
  async stop(withinMs: number): Promise<Notes> {
    this.#answer = Promise.withResolvers();
    this.#child.send({ withinMs });
    return await this.#answer.promise;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#answer.promise.catch(() => {});
    this.#child.kill();
    await this.#child.exited;
  }
}
