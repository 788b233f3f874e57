// How both ends of a relay link prove that they know the cluster secret, without sending it (RFC
// 2104 HMAC over both nonces).

import { createHmac, timingSafeEqual } from "node:crypto";

export const NONCE_BYTES = 16;

function proof(
  secret: string,
  side: "relay" | "link",
  ...parts: (Uint8Array | string)[]
): Uint8Array {
  const mac = createHmac("sha256", secret).update(`tutti ${side}\n`);
  for (const part of parts) mac.update(part).update("\n");
  return mac.digest();
}

/** What the relay answers a HELLO with. */
export const relayProof = (
  secret: string,
  linkNonce: Uint8Array,
  relayNonce: Uint8Array,
): Uint8Array => proof(secret, "relay", linkNonce, relayNonce);

/**
 * What a link answers the relay's challenge with; it vouches for the role and id the link has
 * claimed.
 */
export const linkProof = (
  secret: string,
  linkNonce: Uint8Array,
  relayNonce: Uint8Array,
  role: string,
  id: string,
): Uint8Array => proof(secret, "link", relayNonce, linkNonce, role, id);

export const sameProof = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && timingSafeEqual(a, b);
