// The 64-bit numbers by which relays recognize a repeat. They are an HMAC of the user and the text
// with the cluster secret, so that no client can guess, and so block, another's.

import { createHmac } from "node:crypto";
import type { Producer } from "../../wire/frame.ts";

/**
 * The producer that a user's text stands for: a producer name, or a publication's key. The same on
 * every node.
 */
export function producerFor(
  secret: string,
  kind: "producer" | "key",
  user: string | undefined,
  text: string,
): Producer {
  const mac = createHmac("sha256", secret)
    .update(JSON.stringify([kind, user ?? null, text]))
    .digest();
  return { high: mac.readUInt32BE(0), low: mac.readUInt32BE(4) };
}
