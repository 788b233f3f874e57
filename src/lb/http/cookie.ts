// The sticky cookie, like HAProxy's `insert indirect nocache`: an opaque value identifies a node,
// clients return it, and nodes never see it.

export type CookiePolicy = {
  readonly name: string;
  readonly sameSite: "Lax" | "Strict" | "None";
  readonly secure: boolean;
};

/**
 * A Cookie field without the sticky cookie: the sticky cookie's first value, and the rest of the
 * field.
 */
export type CookieSplit = { readonly sticky: string | undefined; readonly rest: string };

/** Removes every cookie called `name` from a Cookie field's value. */
export function splitCookie(value: string, name: string | undefined): CookieSplit {
  if (name === undefined || !value.includes(name)) return { sticky: undefined, rest: value };
  let sticky: string | undefined;
  const kept = value.split(";").filter((pair) => {
    const equals = pair.indexOf("=");
    if (equals < 0 || pair.slice(0, equals).trim() !== name) return true;
    sticky ??= pair.slice(equals + 1).trim();
    return false;
  });
  return sticky === undefined ? { sticky, rest: value } : { sticky, rest: kept.join(";").trim() };
}

/** Whether a node's Set-Cookie field sets the sticky cookie, which only the lb may set. */
export const setsCookie = (value: string, name: string): boolean =>
  value.includes(name) && value.slice(0, value.indexOf("=")).trim() === name;

/** The response field that sets the cookie. */
export function cookieField(policy: CookiePolicy, value: string, overTls: boolean): string {
  const secure = policy.secure || overTls ? "; Secure" : "";
  const { name, sameSite } = policy;
  return `Set-Cookie: ${name}=${value}; Path=/; HttpOnly; SameSite=${sameSite}${secure}\r\n`;
}

/**
 * The Cache-Control of a response that sets the cookie, which no shared cache may store. `values`:
 * those of the node's own Cache-Control fields.
 */
export function privateCacheControl(values: readonly string[]): string {
  const directives = values
    .flatMap((value) => value.split(","))
    .map((directive) => directive.trim())
    .filter((directive) => directive !== "" && directive.toLowerCase() !== "public");
  const isPrivate = directives.some((each) => /^(?:private|no-store)$/i.test(each));
  return `Cache-Control: ${(isPrivate ? directives : [...directives, "private"]).join(", ")}\r\n`;
}
