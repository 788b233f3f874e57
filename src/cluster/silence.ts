// When a process that runs but says nothing counts as hanging. Pure: the times come as arguments.

/** How often a process is asked how it is. */
export const PING_MS = 1000;
/** A process that is ready answers at once; one that is silent for so long hangs. */
const SILENCE_MS = 5000;
/** Loading an app, or reading a long journal, keeps a starting process from answering. */
const SILENCE_STARTING_MS = 15_000;

export class Silence {
  #limitMs = SILENCE_STARTING_MS;
  #heardAtMs: number;
  #tickedAtMs: number;

  constructor(nowMs: number) {
    this.#heardAtMs = nowMs;
    this.#tickedAtMs = nowMs;
  }

  /** The process has said something. */
  heard(nowMs: number): void {
    this.#heardAtMs = nowMs;
  }

  ready(): void {
    this.#limitMs = SILENCE_MS;
  }

  /** Whether the process hangs; to be asked every PING_MS. */
  hangs(nowMs: number): boolean {
    // A tick that comes late says that we slept, or the whole machine: then the process gets
    // another round.
    if (nowMs - this.#tickedAtMs > 2 * PING_MS) this.#heardAtMs = nowMs;
    this.#tickedAtMs = nowMs;
    return nowMs - this.#heardAtMs > this.#limitMs;
  }
}
