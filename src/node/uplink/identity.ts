// The 64-bit numbers by which relays know a repeat. Mixed with who publishes and with the cluster
// secret, so that nobody can guess, and so spoil, another's.

import { createHmac } from "node:crypto";
import type { Producer } from "../../wire/frame.ts";

/**
 * The producer that a user's text stands for: its own word for itself, or a publication's key. The
 * same on every node.
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
