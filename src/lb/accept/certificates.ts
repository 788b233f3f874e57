// Selects the certificate for a client's server name (SNI, RFC 6066).

/**
 * The DNS names in a certificate's subjectAltName, as node:crypto prints it. Quoted names are not
 * host names.
 */
export function dnsNamesIn(subjectAltName: string | undefined): string[] {
  const names: string[] = [];
  for (const entry of subjectAltName?.split(", ") ?? []) {
    const match = /^DNS:((?:\*\.)?[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*)$/.exec(entry);
    if (match !== null) names.push(match[1].toLowerCase());
  }
  return names;
}

/**
 * Selects a certificate by its names: one with the exact name, else one with a wildcard for the
 * first label (RFC 6125, 6.4.3), else undefined. Of several, the first.
 */
export function chooserOf<C>(
  certificates: readonly (readonly [C, readonly string[]])[],
): (name: string) => C | undefined {
  const byName = new Map<string, C>();
  for (const [certificate, names] of certificates) {
    for (const name of names) if (!byName.has(name)) byName.set(name, certificate);
  }
  return (asked) => {
    const name = asked.toLowerCase();
    const dot = name.indexOf(".");
    return byName.get(name) ?? (dot > 0 ? byName.get(`*${name.slice(dot)}`) : undefined);
  };
}
