// The 64-bit numbers by which relays recognize a repeat. They are an HMAC of the user and the text
// with the cluster secret, so that no client can guess, and so block, another's. Some bits say
// whose they are: a relay shares its memory among owners.

import { createHmac } from "node:crypto";
import { OWNERS, type Producer } from "../../wire/frame.ts";

/** The owner of what the app publishes itself. */
const APP = 0;

/** Gives a producer to its owner. */
const ownedBy = (owner: number, high: number, low: number): Producer => ({
  high: (((high & ~(OWNERS - 1)) >>> 0) + owner) >>> 0,
  low,
});

/** A producer of this node's own: `high` and `low` are random. */
export const ownProducer = (high: number, low: number): Producer => ownedBy(APP, high, low);

/** The same on every node. */
export class Identities {
  readonly #secret: string;

  constructor(secret: string) {
    this.#secret = secret;
  }

  /** A client in a channel, by its user and the name that it has given itself. */
  producer(user: string | undefined, name: string, channel: string): Producer {
    return this.#identify(["producer", user ?? null, channel, name], user ?? name);
  }

  /** A client's key in a channel. Those of all clients without a user have one owner. */
  key(user: string | undefined, channel: string, key: string): Producer {
    return this.#identify(["key", user ?? null, channel, key], user ?? "");
  }

  /** A key of the app's own in a channel: no client's stands for the same. */
  appKey(channel: string, key: string): Producer {
    return this.#identify(["app-key", channel, key], undefined);
  }

  /** `owner` undefined: the app. */
  #identify(parts: readonly (string | null)[], owner: string | undefined): Producer {
    const mac = this.#mac(parts);
    const among =
      owner === undefined ? APP : 1 + (this.#mac(["owner", owner]).readUInt32BE(0) % (OWNERS - 1));
    return ownedBy(among, mac.readUInt32BE(0), mac.readUInt32BE(4));
  }

  #mac(parts: readonly (string | null)[]): Buffer {
    return createHmac("sha256", this.#secret).update(JSON.stringify(parts)).digest();
  }
}
