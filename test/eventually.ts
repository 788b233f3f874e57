// What tests wait with where no event tells: something that is looked at until a deadline, and a
// turn of the event loop.

const POLL_MS = 10;

type Patience = {
  readonly withinMs?: number;
  /** What is looked at, for the error. */
  readonly what?: string;
};

/** Looks until what is seen is as wanted, and resolves to that. */
export async function eventually<T>(
  look: () => T | Promise<T>,
  isSo: (seen: T) => boolean = Boolean,
  { withinMs = 10_000, what = "it" }: Patience = {},
): Promise<T> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    const seen = await look();
    if (isSo(seen)) return seen;
    if (performance.now() > deadline) throw new Error(`${what} stays ${JSON.stringify(seen)}`);
    await Bun.sleep(POLL_MS);
  }
}

/** Resolves when the event loop has gone round. */
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
