// Channel names: what is one, whose it is, and which relay owns it.

import { Malformed, type Shape } from "./shape.ts";

const CHANNEL_NAME_BYTES_MAX = 200;

/**
 * Every session hears this channel from its welcome on, without a subscribe. Only the app publishes
 * to it.
 */
export const EVERYONE = "$everyone";

const PLAIN = /^[!-~]{1,200}$/;
const CLEAN = /^[^\s\p{C}]+$/u;
const encoder = new TextEncoder();

/**
 * Whether a name is 1 to 200 UTF-8 bytes without white space, control, format or unpaired surrogate
 * characters.
 */
export function isChannelName(name: string): boolean {
  if (PLAIN.test(name)) return true;
  return (
    name.length <= CHANNEL_NAME_BYTES_MAX &&
    CLEAN.test(name) &&
    encoder.encode(name).length <= CHANNEL_NAME_BYTES_MAX
  );
}

/** Names that begin with "$" are tutti's own. */
export const isReserved = (name: string): boolean => name.startsWith("$");

export const channelName: Shape<string> = (value, field) => {
  if (typeof value === "string" && isChannelName(value)) return value;
  throw new Malformed(
    `${field} must be 1 to ${CHANNEL_NAME_BYTES_MAX} bytes without spaces or control characters`,
  );
};

/**
 * FNV-1a over UTF-16 units with a final avalanche: the same on every process and version, which
 * rendezvous hashing needs.
 */
function hash32(word: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < word.length; i++) hash = Math.imul(hash ^ word.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

/**
 * The index in `relayIds` of the relay that owns a channel (rendezvous hashing: adding a relay
 * moves only what it takes over).
 */
export function ownerOf(channel: string, relayIds: readonly string[]): number {
  let owner = 0;
  let highest = -1;
  for (let i = 0; i < relayIds.length; i++) {
    const score = hash32(`${channel}\n${relayIds[i]}`);
    if (score > highest) {
      highest = score;
      owner = i;
    }
  }
  return owner;
}
