// File descriptors that a node keeps for when it has no others. Without any left a listening socket
// cannot be accepted from nor silenced, and the process spins; with these, it can refuse.

import { closeSync, openSync } from "node:fs";

const RESERVED = 32;

export class FileReserve {
  readonly #held: number[] = [];
  #isOut = false;

  constructor() {
    this.#fill();
  }

  /** Whether there are no others left: what connects now should be refused. */
  get isOut(): boolean {
    return this.#isOut;
  }

  /** Every so often. True: `isOut` has changed. */
  look(): boolean {
    const wasOut = this.#isOut;
    if (wasOut) this.#isOut = !this.#fill();
    else if (canOpen()) return false;
    else this.#isOut = true;
    if (this.#isOut) this.release();
    return this.#isOut !== wasOut;
  }

  /** False: it cannot be filled. */
  #fill(): boolean {
    while (this.#held.length < RESERVED) {
      const file = open();
      if (file === undefined) return false;
      this.#held.push(file);
    }
    return canOpen();
  }

  release(): void {
    for (const file of this.#held.splice(0)) closeSync(file);
  }
}

function canOpen(): boolean {
  const file = open();
  if (file !== undefined) closeSync(file);
  return file !== undefined;
}

/** Undefined: there is no file descriptor left. */
function open(): number | undefined {
  try {
    return openSync("/dev/null", "r");
  } catch {
    return undefined;
  }
}
