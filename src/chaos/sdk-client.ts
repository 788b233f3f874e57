// A client made with the SDK, as any app would use it, that writes down what happens to it.

import { type Client, connect, TuttiError } from "tutti/client";
import type { ChaosClient } from "./client.ts";
import type { Ledger } from "./ledger.ts";

export class SdkClient implements ChaosClient {
  readonly #name: string;
  readonly #client: Client;
  readonly #ledger: Ledger;

  constructor(name: string, url: string, channels: readonly string[], ledger: Ledger) {
    this.#name = name;
    this.#client = connect(url);
    this.#ledger = ledger;
    for (const channel of channels) this.#read(channel);
  }

  publish(channel: string): void {
    const value = this.#ledger.publish(this.#name, channel, performance.now());
    this.#client
      .channel<string>(channel)
      .publish(value)
      .then((position) => this.#ledger.answered(value, position, performance.now()))
      .catch((error: unknown) => {
        // Closed before the answer came: it stays pending, which the checker does not forgive.
        if (error instanceof TuttiError && error.code === "closed") return;
        this.#ledger.refused(value);
      });
  }

  close(): Promise<void> {
    return this.#client.close({ withinMs: 0 });
  }

  #read(name: string): void {
    const channel = this.#client.channel<string>(name);
    const events = this.#ledger.read(this.#name, name);
    channel.on("message", (message) =>
      this.#ledger.received(events, name, message, message.data, performance.now()),
    );
    channel.on("gap", ({ position, ...gap }) => this.#ledger.stands(events, position, gap));
    channel.on("subscribed", ({ position }) => this.#ledger.stands(events, position, undefined));
    // A subscription that is refused is never told where it stands, which the checker does not
    // forgive either.
    channel.subscribe().catch(() => {});
  }
}
