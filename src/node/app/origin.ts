// Which web pages may open a connection that is authenticated by the browser's credentials. Pure.

/**
 * `same`: pages of the host that they connect to. Else exactly these origins, such as
 * "https://example.com". `*`: any page.
 */
export type Origins = "same" | "*" | readonly string[];

/** What a page has connected to. */
export type Destination = {
  readonly host: string | null;
  /** Whether over TLS, as far as that is known. */
  readonly isSecure: boolean;
  /**
   * The hosts that the public knows it by, their ports included. Without any, whatever the Host
   * header says: also a name that somebody has pointed at this address (DNS rebinding).
   */
  readonly publicHosts: readonly string[];
};

/**
 * Whether a connection with this Origin header may be opened. Programs that are not browsers may
 * send any, or none: this only protects a browser's user from other sites' pages.
 */
export function isOriginAllowed(
  origin: string | null,
  { host, isSecure, publicHosts }: Destination,
  origins: Origins,
): boolean {
  if (origins === "*" || origin === null) return true;
  if (origins !== "same") return origins.includes(origin);
  const hosts = publicHosts.length > 0 ? publicHosts : [host];
  return hosts.some(
    (each) =>
      each !== null && (origin === `https://${each}` || (!isSecure && origin === `http://${each}`)),
  );
}
