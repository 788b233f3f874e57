// What is derived from the lb's key, and so is the same in every lb that has it and means nothing
// to anybody else.

import { createHmac } from "node:crypto";

const derive = (key: string, what: string, of: string): string =>
  createHmac("sha256", key).update(`tutti ${what}\n${of}`).digest("base64url");

/** The sticky cookie's value for a node. */
export const cookieValue = (key: string, nodeId: string): string =>
  derive(key, "cookie", nodeId).slice(0, 22);

/** Our pseudonym in Via, by which a request that comes round again is known. */
export const viaName = (key: string): string => `tutti-${derive(key, "via", "").slice(0, 8)}`;
