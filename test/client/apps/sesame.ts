// An app that wants a token.

import { app, Refused } from "../../../src/node/app/index.ts";

export default app({
  auth: "token",
  connect: ({ token }) => {
    if (token === undefined || !token.startsWith("sesame"))
      throw new Refused("the door stays shut");
    return { user: token, info: { token } };
  },
  channels: { "room:{name}": { presence: true } },
  methods: { "who-am-i": (session) => session.user },
});
