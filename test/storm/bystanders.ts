// The unaffected clients of a storm test. They run in their own process, so that the load on the
// test's process does not slow them down.

import { join } from "node:path";

/** The data of a publication: its number, and when it was published (wall clock, ms). */
export type Sent = { readonly n: number; readonly atMs: number };

/**
 * `latenciesMs`: from publishing to each reader. `published`: so far, per channel. `wrong`: lost,
 * repeated and reordered publications.
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

  /** Resolves when all are subscribed. */
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
