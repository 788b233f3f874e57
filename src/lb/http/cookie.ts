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

/** The response fields that set the cookie. No shared cache may store the response. */
export function cookieFields(policy: CookiePolicy, value: string, overTls: boolean): string {
  const secure = policy.secure || overTls ? "; Secure" : "";
  return `Set-Cookie: ${policy.name}=${value}; Path=/; HttpOnly; SameSite=${policy.sameSite}${secure}\r\nCache-Control: private\r\n`;
}
