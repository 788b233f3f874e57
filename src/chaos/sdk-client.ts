// A workload client that uses the SDK as an app does, and records what it receives.

import { type Client, connect, TuttiError } from "tutti/client";
import type { Ledger } from "./ledger.ts";

export class SdkClient {
  readonly #name: string;
  readonly #client: Client;
  readonly #ledger: Ledger;

  constructor(name: string, url: string, channels: readonly string[], ledger: Ledger) {
    this.#name = name;
    this.#client = connect(url);
    this.#ledger = ledger;
    for (const channel of channels) this.#subscribe(channel);
  }

  publish(channel: string): void {
    const value = this.#ledger.publicationStarted(this.#name, channel, performance.now());
    this.#client
      .channel<string>(channel)
      .publish(value)
      .then((position) => this.#ledger.publicationAcknowledged(value, position, performance.now()))
      .catch((error: unknown) => {
        // The client closed before the answer: the publication stays pending, which is a violation.
        if (error instanceof TuttiError && error.code === "closed") return;
        this.#ledger.publicationFailed(value);
      });
  }

  close(): Promise<void> {
    return this.#client.close({ withinMs: 0 });
  }

  #subscribe(name: string): void {
    const channel = this.#client.channel<string>(name);
    const events = this.#ledger.subscriptionStarted(this.#name, name);
    channel.on("message", (message) =>
      this.#ledger.messageReceived(events, name, message, message.data, performance.now()),
    );
    channel.on("gap", ({ position, ...gap }) =>
      this.#ledger.positionReceived(events, position, gap),
    );
    channel.on("subscribed", ({ position }) =>
      this.#ledger.positionReceived(events, position, undefined),
    );
    // A refused subscription never receives a position, which is a violation too.
    channel.subscribe().catch(() => {});
  }
}
