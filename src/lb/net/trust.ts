// Which peers are proxies whose X-Forwarded-* fields are trusted.

import { BlockList, isIP } from "node:net";
import { UsageError } from "../../runtime/arguments.ts";

export type Trust = (address: string) => boolean;

/** Trusts these addresses and networks, each "address" or "address/prefix length". */
export function parseTrust(values: readonly string[]): Trust {
  if (values.length === 0) return () => false;
  const trusted = new BlockList();
  for (const value of values) {
    const slash = value.indexOf("/");
    const address = slash < 0 ? value : value.slice(0, slash);
    const family = isIP(address);
    const bits = family === 6 ? 128 : 32;
    const prefix =
      slash < 0 ? bits : Number(/^\d{1,3}$/.exec(value.slice(slash + 1))?.[0] ?? Number.NaN);
    if (family === 0 || !(prefix <= bits))
      throw new UsageError(`--trust "${value}" is not an address or network, such as 10.0.0.0/8.`);
    trusted.addSubnet(address, prefix, family === 6 ? "ipv6" : "ipv4");
  }
  return (address) => {
    const family = isIP(address);
    return family !== 0 && trusted.check(address, family === 6 ? "ipv6" : "ipv4");
  };
}

/** A peer's address as nodes receive it: an IPv4 address on an IPv6 socket is written as IPv4. */
export const plainAddress = (address: string): string =>
  address.startsWith("::ffff:") && address.includes(".") ? address.slice(7) : address;

/**
 * The client's address: the first one, from the end of X-Forwarded-For, that is no trusted proxy's.
 * What stands before it may be invented. `forwardedFor`: as `peer`, a trusted proxy, sent it.
 */
export function clientAddress(forwardedFor: string, peer: string, trust: Trust): string {
  let client = peer;
  for (const element of forwardedFor.split(",").reverse()) {
    if (!trust(client)) break;
    const address = elementAddress(element.trim());
    if (isIP(address) === 0) break;
    client = address;
  }
  return client;
}

/** Some proxies add the client's port. */
function elementAddress(element: string): string {
  const [, bracketed, plain] =
    /^(?:\[([^\]]*)\]|(\d+\.\d+\.\d+\.\d+))(?::\d+)?$/.exec(element) ?? [];
  return plainAddress(bracketed ?? plain ?? element);
}
