// Which peers are trusted proxies.

import { expect, test } from "bun:test";
import { clientAddress, parseTrust, plainAddress } from "../../src/lb/net/trust.ts";

test("trust: exactly the given networks", () => {
  const trust = parseTrust(["10.0.0.0/8", "192.168.1.7", "2001:db8::/32"]);
  for (const address of ["10.0.0.1", "10.255.255.255", "192.168.1.7", "2001:db8::1"])
    expect(trust(address)).toBe(true);
  for (const address of ["11.0.0.1", "192.168.1.8", "2001:db9::1", "::1", "", "10.0.0.1.evil"])
    expect(trust(address)).toBe(false);
  expect(parseTrust([])("127.0.0.1")).toBe(false);
  for (const wrong of ["x", "10.0.0.0/33", "10.0.0.0/", "::/129", "10.0.0/8", "10.0.0.0/-1", "/8"])
    expect(() => parseTrust([wrong])).toThrow("--trust");
  expect(plainAddress("::ffff:10.0.0.1")).toBe("10.0.0.1");
  expect(plainAddress("::1")).toBe("::1");
});

test("the client is the last on the path that is no trusted proxy", () => {
  const trust = parseTrust(["10.0.0.0/8", "2001:db8::/32"]);
  const cases: [string, string, string][] = [
    ["", "10.0.0.1", "10.0.0.1"],
    ["203.0.113.7", "10.0.0.1", "203.0.113.7"],
    ["6.6.6.6, 203.0.113.7,10.0.0.2", "10.0.0.1", "203.0.113.7"],
    ["203.0.113.7", "203.0.113.8", "203.0.113.8"],
    ["10.0.0.3, 10.0.0.2", "10.0.0.1", "10.0.0.3"],
    ["203.0.113.7, unknown", "10.0.0.1", "10.0.0.1"],
    ["203.0.113.7, , 10.0.0.2", "10.0.0.1", "10.0.0.2"],
    ["203.0.113.7:4711", "10.0.0.1", "203.0.113.7"],
    ["[2001:db9::1]:4711", "2001:db8::1", "2001:db9::1"],
    ["2001:db9::1", "10.0.0.1", "2001:db9::1"],
    ["::ffff:203.0.113.7", "10.0.0.1", "203.0.113.7"],
  ];
  for (const [forwardedFor, peer, client] of cases)
    expect(clientAddress(forwardedFor, peer, trust)).toBe(client);
});
