// Channel patterns such as "chat:{room}": what they match and what their placeholders held. Pure.

import { isChannelName, isReserved } from "../../wire/channel-name.ts";

/** The names of a pattern's placeholders. */
type NamesIn<Pattern extends string> = Pattern extends `${string}{${infer Name}}${infer Rest}`
  ? Name | NamesIn<Rest>
  : never;
/** What the placeholders of a pattern held: `{ room: string }` for "chat:{room}". */
export type ParamsOf<Pattern extends string> = { readonly [Name in NamesIn<Pattern>]: string };
export type Params = Readonly<Record<string, string>>;

/** A pattern cut at its placeholders: literal, name, literal, name, …, literal. */
export type Pattern = { readonly names: readonly string[]; readonly literals: readonly string[] };

const PLACEHOLDER = /\{([^{}]*)\}/g;
const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

/**
 * Reads a pattern. A placeholder stands for one or more characters other than ":" and "/", as few
 * as can be (the last one: as many). Throws an Error that says what is wrong.
 */
export function compilePattern(pattern: string): Pattern {
  const names = [...pattern.matchAll(PLACEHOLDER)].map(([, name]) => name);
  const literals = pattern.split(/\{[^{}]*\}/);
  const wrong = (why: string) => new Error(`The channel pattern "${pattern}" ${why}.`);
  if (literals.some((literal) => /[{}]/.test(literal)))
    throw wrong('has a "{" or "}" without its partner');
  if (names.some((name) => !NAME.test(name)))
    throw wrong("has a placeholder whose name is not a word, such as {room}");
  if (new Set(names).size < names.length) throw wrong("uses one placeholder twice");
  if (literals.slice(1, -1).includes(""))
    throw wrong("has two placeholders with nothing between them");
  if (!isChannelName(pattern.replace(PLACEHOLDER, "x")))
    throw wrong("cannot match: no channel may be called that");
  if (isReserved(pattern)) throw wrong('begins with "$", which is for tutti itself');
  return { names, literals };
}

/**
 * What the placeholders hold in this channel's name; undefined when the pattern does not match it.
 * In time linear in the name.
 */
export function matchPattern({ names, literals }: Pattern, channel: string): Params | undefined {
  const last = literals[names.length];
  if (names.length === 0) return channel === last ? {} : undefined;
  if (!channel.startsWith(literals[0]) || !channel.endsWith(last)) return undefined;
  let at = literals[0].length;
  const values: string[] = [];
  for (let i = 1; i <= names.length; i++) {
    const end =
      i === names.length ? channel.length - last.length : channel.indexOf(literals[i], at + 1);
    const value = channel.slice(at, Math.max(at, end));
    if (value === "" || /[:/]/.test(value)) return undefined;
    values.push(value);
    at = end + literals[i].length;
  }
  return Object.fromEntries(names.map((name, index) => [name, values[index]]));
}
