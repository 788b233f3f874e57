// Shapes: checks that turn an unknown value from the wire into a typed one, or throw a sentence
// that says what is wrong. All message types are derived from shapes. No dependency: the client
// imports this.

/** A value from outside that the protocol does not allow. `message`: a sentence for the sender. */
export class Malformed extends Error {
  override name = "Malformed";
}

/** Returns the value, typed; throws Malformed, naming `field`, when it is something else. */
export type Shape<T> = (value: unknown, field: string) => T;
export type Shaped<S> = S extends Shape<infer T> ? T : never;

type Fields = Record<string, Shape<unknown>>;
type OptionalKeys<F extends Fields> = {
  [K in keyof F]: undefined extends Shaped<F[K]> ? K : never;
}[keyof F];
/**
 * The object type that a table of shapes describes; a field whose shape admits `undefined` may be
 * absent.
 */
export type ShapedFields<F extends Fields> = {
  [K in Exclude<keyof F, OptionalKeys<F>>]: Shaped<F[K]>;
} & {
  [K in OptionalKeys<F>]?: Shaped<F[K]>;
};

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

export const integer =
  (min: number, max: number): Shape<number> =>
  (value, field) => {
    if (typeof value === "number" && Number.isSafeInteger(value) && value >= min && value <= max)
      return value;
    throw new Malformed(`${field} must be a whole number from ${min} to ${max}`);
  };

/** Text of `min` to `max` UTF-16 units. */
export const text =
  (min: number, max: number): Shape<string> =>
  (value, field) => {
    if (typeof value === "string" && value.length >= min && value.length <= max) return value;
    throw new Malformed(`${field} must be text of ${min} to ${max} characters`);
  };

export const flag: Shape<boolean> = (value, field) => {
  if (typeof value === "boolean") return value;
  throw new Malformed(`${field} must be true or false`);
};

export const oneOf =
  <const T extends string>(...words: readonly T[]): Shape<T> =>
  (value, field) => {
    const word = words.find((candidate) => candidate === value);
    if (word !== undefined) return word;
    throw new Malformed(`${field} must be one of ${words.join(", ")}`);
  };

/** Bytes of `min` to `max` length: a view on what was decoded. */
export const binary =
  (min: number, max: number): Shape<Uint8Array> =>
  (value, field) => {
    if (value instanceof Uint8Array && value.length >= min && value.length <= max) return value;
    throw new Malformed(`${field} must be ${min === max ? min : `${min} to ${max}`} bytes`);
  };

/** Any value but undefined: its content belongs to the app. */
export const present: Shape<NonNullable<unknown> | null> = (value, field) => {
  if (value !== undefined) return value;
  throw new Malformed(`${field} is missing`);
};

export const optional =
  <T>(shape: Shape<T>): Shape<T | undefined> =>
  (value, field) =>
    value === undefined ? undefined : shape(value, field);

export const nullable =
  <T>(shape: Shape<T>): Shape<T | null> =>
  (value, field) =>
    value === null || value === undefined ? null : shape(value, field);

export const list =
  <T>(shape: Shape<T>, max: number): Shape<T[]> =>
  (value, field) => {
    if (!Array.isArray(value)) throw new Malformed(`${field} must be a list`);
    if (value.length > max) throw new Malformed(`${field} must have at most ${max} entries`);
    return value.map((entry, index) => shape(entry, `${field}[${index}]`));
  };

/** Whole numbers by name, as in a table of counts. */
export const counts =
  (max: number): Shape<Record<string, number>> =>
  (value, field) => {
    if (!isRecord(value)) throw new Malformed(`${field} must be a map of counts`);
    const entries = Object.entries(value);
    if (entries.length > max) throw new Malformed(`${field} must have at most ${max} entries`);
    const count = integer(0, Number.MAX_SAFE_INTEGER);
    return Object.fromEntries(
      entries.map(([name, entry]) => [name, count(entry, `${field}.${name}`)]),
    );
  };

/**
 * An object with these fields. Other fields are dropped, `__proto__` and the like among
 * them.
 */
export const object =
  <F extends Fields>(fields: F): Shape<ShapedFields<F>> =>
  (value, field) => {
    if (!isRecord(value)) throw new Malformed(`${field} must be an object`);
    return shapeFields(
      fields,
      (name) => (Object.hasOwn(value, name) ? value[name] : undefined),
      `${field}.`,
    );
  };

/** Builds the object that `fields` describe, with the values that `fieldOf` returns. */
export function shapeFields<F extends Fields>(
  fields: F,
  fieldOf: (name: string, index: number) => unknown,
  prefix = "",
): ShapedFields<F> {
  const shaped: Record<string, unknown> = {};
  Object.entries(fields).forEach(([name, shape], index) => {
    const value = shape(fieldOf(name, index), prefix + name);
    if (value !== undefined) shaped[name] = value;
  });
  return shaped as ShapedFields<F>;
}
