// The chat, the default app of a cluster: a page at "/" that shows which node serves you and what
// happens when that node is killed.

import { app, Refused } from "tutti";
import page from "./index.html";
import type { Line, Name, Serving } from "./messages.ts";

const TEXT_CHARACTERS_MAX = 2000;
const NAME_CHARACTERS_MAX = 40;

export default app({
  channels: {
    chat: {
      presence: true,
      history: { size: 1000, ttl: "1h" },
      // The app adds the node that accepted a message, so that a client cannot forge it.
      publish: (session, data): Line => ({
        id: textIn(data, "id", 40),
        name: textIn(data, "name", NAME_CHARACTERS_MAX),
        text: textIn(data, "text", TEXT_CHARACTERS_MAX),
        node: session.node,
      }),
    },
    names: {
      history: { size: 1000, ttl: "1d" },
      publish: (session, data): Name => ({
        client: session.id,
        name: textIn(data, "name", NAME_CHARACTERS_MAX),
      }),
    },
    // Any other channel, to try from your own WebSocket.
    "{channel}": {},
  },
  methods: {
    "who-serves": (session): Serving => ({ node: session.node, pid: process.pid }),
  },
  routes: { "/": page },
});

/** The text in `field` of a client's data. Throws Refused if it is missing, empty or too long. */
function textIn(data: unknown, field: string, charactersMax: number): string {
  const value: unknown =
    typeof data === "object" && data !== null ? Reflect.get(data, field) : undefined;
  if (typeof value !== "string") throw new Refused(`${field} must be text.`);
  const trimmed = value.trim();
  if (trimmed === "" || trimmed.length > charactersMax)
    throw new Refused(`${field} must have 1 to ${charactersMax} characters.`);
  return trimmed;
}
