// Which web pages may open a connection that is authenticated by the browser's credentials. Pure.

/**
 * `same`: pages of the host that they connect to. Else exactly these origins, such as
 * "https://example.com". `*`: any page.
 */
export type Origins = "same" | "*" | readonly string[];

/**
 * Whether a connection with this Origin header may be opened. Programs that are not browsers may
 * send any, or none: this only protects a browser's user from other sites' pages.
 */
export function isOriginAllowed(
  origin: string | null,
  host: string | null,
  origins: Origins,
): boolean {
  if (origins === "*" || origin === null) return true;
  if (origins !== "same") return origins.includes(origin);
  if (host === null) return false;
  return origin === `http://${host}` || origin === `https://${host}`;
}
