// The clock and timers that the cores take as a port, and the real ones. The simulation gives them
// virtual time.

/** Cancels a timer; no-op once it has run. */
export type Cancel = () => void;

/** The clocks are functions that need no `this`, so that they can be passed on. */
export interface Clock {
  /** The time of day, ms. It may be set, also backwards. */
  readonly wallMs: () => number;
  /** For durations, ms: never set, fractions included. */
  readonly monotonicMs: () => number;
  after(delayMs: number, run: () => void): Cancel;
  every(intervalMs: number, run: () => void): Cancel;
  /** Runs once everything that is ready in this turn of the event loop has been handled. */
  endOfTurn(run: () => void): void;
}

export const systemClock: Clock = {
  wallMs: Date.now,
  monotonicMs: () => performance.now(),
  after: (delayMs, run) => {
    const timer = setTimeout(run, delayMs);
    return () => clearTimeout(timer);
  },
  every: (intervalMs, run) => {
    const timer = setInterval(run, intervalMs);
    return () => clearInterval(timer);
  },
  endOfTurn: (run) => void setImmediate(run),
};
