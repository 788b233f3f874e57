// The 64-bit numbers by which relays recognize a repeat. They are an HMAC of the user and the text
// with the cluster secret, so that no client can guess, and so block, another's.

import { createHmac } from "node:crypto";
import type { Producer } from "../../wire/frame.ts";

/** Whose text it is: a client's name for itself, a client's key, or a key of the app itself. */
export type ProducerKind = "producer" | "key" | "app-key";

/**
 * The producer that a user's text stands for: a producer name, or a publication's key. The same on
 * every node. What a client says never stands for the same as what the app says.
 */
export function producerFor(
  secret: string,
  kind: ProducerKind,
  user: string | undefined,
  text: string,
): Producer {
  const mac = createHmac("sha256", secret)
    .update(JSON.stringify([kind, user ?? null, text]))
    .digest();
  return { high: mac.readUInt32BE(0), low: mac.readUInt32BE(4) };
}
