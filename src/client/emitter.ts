// Listeners by event name, typed.

export class Emitter<Events extends object> {
  readonly #listeners: { [K in keyof Events]?: Set<(event: Events[K]) => void> } = {};

  /** Returns what takes the listener away again. */
  on<K extends keyof Events>(type: K, listener: (event: Events[K]) => void): () => void {
    const listeners: Set<(event: Events[K]) => void> = this.#listeners[type] ?? new Set();
    this.#listeners[type] = listeners;
    listeners.add(listener);
    return () => {
      listeners.delete(listener);
    };
  }

  has(type: keyof Events): boolean {
    return (this.#listeners[type]?.size ?? 0) > 0;
  }

  /**
   * A listener that throws is the app's own mistake: it is reported as uncaught, and the client
   * goes on.
   */
  emit<K extends keyof Events>(type: K, event: Events[K]): void {
    for (const listener of this.#listeners[type] ?? []) {
      try {
        listener(event);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}
