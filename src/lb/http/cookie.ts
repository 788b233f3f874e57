// The sticky cookie, as HAProxy's `insert indirect nocache`: its value names a node without telling
// which, clients bring it back, nodes never see it.

export type CookiePolicy = {
  readonly name: string;
  readonly sameSite: "Lax" | "Strict" | "None";
  readonly secure: boolean;
};

/**
 * What a Cookie field says once the sticky cookie is taken out: its first value, and the rest of
 * the field.
 */
export type CookieSplit = { readonly sticky: string | undefined; readonly rest: string };

/** Takes every cookie called `name`, if any is, out of a Cookie field's value. */
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

/** Whether a Set-Cookie field of a node sets a cookie of our name, which is ours alone to set. */
export const setsCookie = (value: string, name: string): boolean =>
  value.includes(name) && value.slice(0, value.indexOf("=")).trim() === name;

/** The fields of an answer that gives the cookie. No shared cache may keep it. */
export function cookieFields(policy: CookiePolicy, value: string, overTls: boolean): string {
  const secure = policy.secure || overTls ? "; Secure" : "";
  return `Set-Cookie: ${policy.name}=${value}; Path=/; HttpOnly; SameSite=${policy.sameSite}${secure}\r\nCache-Control: private\r\n`;
}
