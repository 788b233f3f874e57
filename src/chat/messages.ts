// What the page and the app send each other. Types only.

/** One line of the chat. `id` is the sender's, `node` the one that took it. */
export type Line = {
  readonly id: string;
  readonly name: string;
  readonly text: string;
  readonly node: string;
};
/** What the page publishes of a line; the app adds the rest. */
export type Draft = Pick<Line, "id" | "name" | "text">;

/** What a client, as presence calls it, wants to be called. */
export type Name = { readonly client: string; readonly name: string };

/** The process that serves a client. */
export type Serving = { readonly node: string; readonly pid: number };
