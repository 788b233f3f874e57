// Which certificate for which name, by value.

import { expect, test } from "bun:test";
import { chooserOf, dnsNamesIn } from "../../src/lb/accept/certificates.ts";

test("the exact name wins over a wildcard, the earlier certificate over the later", () => {
  const choose = chooserOf([
    ["first", ["a.example", "*.example.com"]],
    ["second", ["b.example", "www.example.com", "a.example"]],
    ["third", ["*.example.com", "*.deep.example.com"]],
  ]);
  const cases: [string, string | undefined][] = [
    ["a.example", "first"],
    ["A.Example", "first"],
    ["b.example", "second"],
    ["www.example.com", "second"],
    ["other.example.com", "first"],
    ["x.deep.example.com", "third"],
    ["deep.example.com", "first"],
    ["x.y.example.com", undefined],
    ["example.com", undefined],
    [".example.com", undefined],
    ["*.example.com", "first"],
    ["c.example", undefined],
    ["example", undefined],
    ["", undefined],
    ["__proto__", undefined],
  ];
  for (const [name, certificate] of cases)
    expect([name, choose(name)]).toEqual([name, certificate]);
});

test("names come from the DNS entries alone", () => {
  expect(dnsNamesIn(undefined)).toEqual([]);
  expect(
    dnsNamesIn(
      "DNS:a.example, DNS:*.B.example, IP Address:10.0.0.1, URI:http://c.example, DNS:x_y.z",
    ),
  ).toEqual(["a.example", "*.b.example", "x_y.z"]);
  expect(
    dnsNamesIn('DNS:"a.example, DNS:b.example", DNS:a..example, DNS:*, DNS:a.*.example'),
  ).toEqual([]);
});
