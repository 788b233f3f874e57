// Values derived from the lb's key: the same in every lb with that key, and opaque to others.

import { createHmac } from "node:crypto";

const derive = (key: string, what: string, of: string): string =>
  createHmac("sha256", key).update(`tutti ${what}\n${of}`).digest("base64url");

/** The sticky cookie's value for a node. */
export const cookieValue = (key: string, nodeId: string): string =>
  derive(key, "cookie", nodeId).slice(0, 22);

/** This lb's pseudonym in Via, which detects forwarding loops. */
export const viaName = (key: string): string => `tutti-${derive(key, "via", "").slice(0, 8)}`;
