// Which web pages may open a connection that the browser's own credentials vouch for. Pure.

/**
 * `same`: pages of the host that they connect to. Else exactly these origins, such as
 * "https://example.com". `*`: any page.
 */
export type Origins = "same" | "*" | readonly string[];

/**
 * Whether a connection with this Origin header may be opened. A program that is not a browser sends
 * none, and could send any: this protects people's browsers from other people's pages, nothing
 * else.
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
