// Every attack there is, and carrying out some of them.

import { falseRelays } from "./false-relay.ts";
import { floods } from "./floods.ts";
import { kills } from "./kills.ts";
import { nonReaders } from "./non-readers.ts";
import { poisons } from "./poison.ts";
import type { Outcome } from "./report.ts";
import { type Attack, Stage } from "./stage.ts";
import { strangers } from "./strangers.ts";

export const ATTACKS: readonly Attack[] = [
  ...poisons,
  ...strangers,
  ...floods,
  ...nonReaders,
  ...kills,
  ...falseRelays,
];

export class Siege implements AsyncDisposable {
  #stage: Stage | undefined;

  /** Carries it out on the cluster that stood so far, or on a new one. */
  async attack(attack: Attack, seconds: number, seed: number): Promise<Outcome> {
    this.#stage ??= await Stage.open();
    let stood = false;
    try {
      const outcome = await this.#stage.run(attack, seconds, seed);
      stood = outcome.wrong.length === 0;
      return outcome;
    } finally {
      if (!stood) await this[Symbol.asyncDispose]();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stage?.[Symbol.asyncDispose]();
    this.#stage = undefined;
  }
}
