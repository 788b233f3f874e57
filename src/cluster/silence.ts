// When a process that runs but says nothing counts as hanging. Pure: the times come as arguments.

/** How often a process is asked how it is. */
export const PING_MS = 1000;
/** A process that is ready answers at once; one that is silent for so long hangs. */
const UNRESPONSIVE_MS = 5000;
/** Loading an app, or reading a long journal, keeps a starting process from answering. */
const UNRESPONSIVE_STARTING_MS = 15_000;

export class Responsiveness {
  #limitMs = UNRESPONSIVE_STARTING_MS;
  #receivedAtMs: number;
  #checkedAtMs: number;

  constructor(nowMs: number) {
    this.#receivedAtMs = nowMs;
    this.#checkedAtMs = nowMs;
  }

  /** The process has said something. */
  messageReceived(nowMs: number): void {
    this.#receivedAtMs = nowMs;
  }

  becameReady(): void {
    this.#limitMs = UNRESPONSIVE_MS;
  }

  /** Whether the process hangs; to be asked every PING_MS. */
  isUnresponsive(nowMs: number): boolean {
    // A tick that comes late says that we slept, or the whole machine: then the process gets
    // another round.
    if (nowMs - this.#checkedAtMs > 2 * PING_MS) this.#receivedAtMs = nowMs;
    this.#checkedAtMs = nowMs;
    return nowMs - this.#receivedAtMs > this.#limitMs;
  }
}
