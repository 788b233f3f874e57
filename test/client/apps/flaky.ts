// An app whose functions fail now and then: each client's first connect, and the second subscribe
// to each channel.

import { app } from "../../../src/node/app/index.ts";

const seen = new Set<string>();
const subscribes = new Map<string, number>();

export default app({
  auth: "token",
  connect: ({ token = "" }) => {
    if (seen.has(token)) return { user: token };
    seen.add(token);
    throw new Error("the database is away");
  },
  channels: {
    "room:{name}": {
      subscribe: (_, { name }) => {
        const count = (subscribes.get(name) ?? 0) + 1;
        subscribes.set(name, count);
        if (count === 2) throw new Error("the database is away again");
        return true;
      },
    },
  },
});
