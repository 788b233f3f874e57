// Headers of the PROXY protocol, version 2, as proxies send them.

/**
 * `command`: 0x20 LOCAL, 0x21 PROXY. `family`: 0x11 TCP over IPv4. `rest`: addresses and
 * type-length-values.
 */
export function proxyV2(command: number, family: number, rest: Uint8Array): Buffer {
  const fixed = Buffer.from("\r\n\r\n\0\r\nQUIT\n\0\0\0\0", "latin1");
  fixed[12] = command;
  fixed[13] = family;
  fixed.writeUInt16BE(rest.length, 14);
  return Buffer.concat([fixed, rest]);
}

/** A type-length-value. */
export function tlv(type: number, value: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([type, value.length >> 8, value.length & 0xff]), value]);
}
