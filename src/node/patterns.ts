// Channel patterns such as "chat:{room}": what they match and what their placeholders held. Pure.

import { isChannelName, isReserved } from "../wire/channel-name.ts";

/** The names of a pattern's placeholders. */
type NamesIn<Pattern extends string> = Pattern extends `${string}{${infer Name}}${infer Rest}`
  ? Name | NamesIn<Rest>
  : never;
/** What the placeholders of a pattern held: `{ room: string }` for "chat:{room}". */
export type ParamsOf<Pattern extends string> = { readonly [Name in NamesIn<Pattern>]: string };
export type Params = Readonly<Record<string, string>>;

export type Pattern = { readonly names: readonly string[]; readonly regexp: RegExp };

const PLACEHOLDER = /\{([^{}]*)\}/g;
const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** Reads a pattern. A placeholder stands for one or more characters other than ":" and "/". Throws an Error that says what is wrong. */
export function compilePattern(pattern: string): Pattern {
  const names = [...pattern.matchAll(PLACEHOLDER)].map(([, name]) => name);
  const literals = pattern.split(/\{[^{}]*\}/);
  const wrong = (why: string) => new Error(`The channel pattern "${pattern}" ${why}.`);
  if (literals.some((literal) => /[{}]/.test(literal))) throw wrong('has a "{" or "}" without its partner');
  if (names.some((name) => !NAME.test(name))) throw wrong("has a placeholder whose name is not a word, such as {room}");
  if (new Set(names).size < names.length) throw wrong("uses one placeholder twice");
  if (literals.slice(1, -1).includes("")) throw wrong("has two placeholders with nothing between them");
  if (!isChannelName(pattern.replace(PLACEHOLDER, "x"))) throw wrong("cannot match: no channel may be called that");
  if (isReserved(pattern)) throw wrong('begins with "$", which is for tutti itself');
  return { names, regexp: new RegExp(`^${literals.map((literal) => RegExp.escape(literal)).join("([^:/]+)")}$`, "u") };
}

/** What the placeholders hold in this channel's name; undefined when the pattern does not match it. */
export function matchPattern({ names, regexp }: Pattern, channel: string): Params | undefined {
  const match = regexp.exec(channel);
  return match === null ? undefined : Object.fromEntries(names.map((name, index) => [name, match[index + 1]]));
}
