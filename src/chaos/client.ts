// What a client is to a chaos run: it publishes, and writes down what it hears. Types only.

export interface ChaosClient {
  publish(channel: string): void;
  /**
   * Leaves its node, and comes back to whichever the lb chooses: so that nodes which were restarted
   * get clients again.
   */
  reconnect?(): void;
  /** Resolves when it has let go of its connection. */
  close(): Promise<void>;
}
