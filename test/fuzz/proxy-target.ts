// Fuzz target of the lb's parser for the PROXY protocol header.

import { isIP } from "node:net";
import { readProxyHeader } from "../../src/lb/accept/proxy-protocol.ts";
import { proxyV2, tlv } from "../lb/proxy-headers.ts";
import { must, type Target, utf8 } from "./target.ts";

const V4 = Buffer.from([10, 1, 2, 3, 10, 1, 2, 4, 0x30, 0x39, 0, 80]);
const SSL = tlv(
  0x20,
  Buffer.concat([Buffer.from([1, 0, 0, 0, 0]), tlv(0x21, Buffer.from("TLSv1.3"))]),
);

export const proxyHeaders: Target = {
  name: "proxy-headers",
  share: 4,
  good: [
    ...[
      "TCP4 10.1.2.3 10.1.2.4 12345 80",
      "TCP6 2001:db8::1 ::ffff:a01:204 12345 80",
      "UNKNOWN ::1 ::1 1 2",
    ].map((line) => utf8(`PROXY ${line}\r\nGET / HTTP/1.1\r\n`)),
    proxyV2(0x21, 0x11, Buffer.concat([V4, tlv(4, Buffer.alloc(9)), SSL])),
    proxyV2(0x21, 0x21, Buffer.concat([V4, V4, V4, SSL])),
    proxyV2(0x21, 0x31, Buffer.alloc(216)),
    proxyV2(0x20, 0x00, SSL),
  ],
  take(input, random) {
    const bytes = Buffer.from(input);
    const header = readProxyHeader(bytes);
    const part = readProxyHeader(bytes.subarray(0, random.below(bytes.length + 1)));
    if (header === "invalid" || header === "incomplete") {
      must(part === "incomplete" || part === header, "a part of a header says more than the whole");
      if (header === "incomplete") must(bytes.length < 4096, "no length is too long");
      return;
    }
    must(header.bytes > 0 && header.bytes <= bytes.length, "a header ends outside its bytes");
    must(header.address === undefined || isIP(header.address) !== 0, "an address is none");
    must(
      part === "incomplete" || Bun.deepEquals(part, header),
      "a part of a header says something else",
    );
  },
};
