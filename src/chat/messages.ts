// The data that the page and the app exchange. Types only.

/** One chat message. The sender chooses `id`; `node` is the node that accepted the message. */
export type Line = {
  readonly id: string;
  readonly name: string;
  readonly text: string;
  readonly node: string;
};
/** What the page publishes; the app adds the rest. */
export type Draft = Pick<Line, "id" | "name" | "text">;

/** The name of a client; `client` is its session id, as in presence. */
export type Name = { readonly client: string; readonly name: string };

/** The process that serves a client. */
export type Serving = { readonly node: string; readonly pid: number };
