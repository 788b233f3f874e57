// An app that authenticates by token.

import { app, Refused } from "../../src/node/app/index.ts";

export default app({
  auth: "token",
  connect: ({ token }) => {
    if (token !== "open sesame") throw new Refused("That is not the token.");
    return { info: { name: "Ali" } };
  },
  channels: { cave: { presence: true } },
});
