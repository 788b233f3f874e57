// Certificates as tests need them: self-signed, made of nothing but node:crypto. Just enough DER
// (X.690) for X.509 (RFC 5280).

import { generateKeyPairSync, randomBytes, sign } from "node:crypto";

export type Pair = { readonly cert: string; readonly key: string };

const der = (tag: number, ...parts: (Uint8Array | number[])[]): Buffer => {
  const body = Buffer.concat(parts.map((part) => Uint8Array.from(part)));
  const { length } = body;
  const size =
    length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Uint8Array.from([tag, ...size]), body]);
};
const sequence = (...parts: Uint8Array[]): Buffer => der(0x30, ...parts);
const oid = (...bytes: number[]): Buffer => der(0x06, bytes);
const ECDSA_WITH_SHA256 = sequence(oid(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02));

const nameOf = (commonName: string): Buffer =>
  sequence(der(0x31, sequence(oid(0x55, 0x04, 0x03), der(0x0c, Buffer.from(commonName)))));

const time = (ms: number): Buffer =>
  der(0x18, Buffer.from(new Date(ms).toISOString().replace(/[-:T]|\.\d+/g, "")));

const pem = (bytes: Uint8Array): string => {
  const lines =
    Buffer.from(bytes)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return ["-----BEGIN CERTIFICATE-----", ...lines, "-----END CERTIFICATE-----", ""].join("\n");
};

/**
 * A fresh key and a certificate of it for these DNS names, the first of which is its common name.
 */
export function selfSigned(...names: string[]): Pair {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const name = nameOf(names[0] ?? "");
  const alternatives = sequence(...names.map((each) => der(0x82, Buffer.from(each))));
  const extension = sequence(oid(0x55, 0x1d, 0x11), der(0x04, alternatives));
  const serial = der(0x02, [1], randomBytes(8));
  const now = Date.now();
  const tbs = sequence(
    der(0xa0, der(0x02, [2])),
    serial,
    ECDSA_WITH_SHA256,
    name,
    sequence(time(now - 3_600_000), time(now + 86_400_000)),
    name,
    publicKey.export({ type: "spki", format: "der" }),
    der(0xa3, sequence(extension)),
  );
  const signature = sign("sha256", tbs, privateKey);
  const cert = sequence(tbs, ECDSA_WITH_SHA256, der(0x03, [0], signature));
  return { cert: pem(cert), key: privateKey.export({ type: "pkcs8", format: "pem" }).toString() };
}
