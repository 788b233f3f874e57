// What the page says of a connection that was lost, once it is back. Pure.

import type { Serving } from "./messages.ts";

/**
 * The process that served before and the one that serves now: the same one lived through it, so the
 * lb or the network between was lost. `saidGoodbye`: the node had sent the client away.
 */
export function storyOfLoss(
  before: Serving | undefined,
  now: Serving | undefined,
  saidGoodbye: boolean,
): string {
  const node = before?.node ?? "the node";
  if (saidGoodbye) return `${node} went away`;
  const isSame = before !== undefined && before.node === now?.node && before.pid === now.pid;
  return isSame ? "the lb or the network was lost" : `${node} was lost`;
}
