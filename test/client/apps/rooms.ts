// An app with something of everything, for the client's tests.

import { app, Refused } from "../../../src/node/app/index.ts";

let calls = 0;

export default app({
  channels: {
    "room:{name}": { presence: true, history: { size: 5000, bytes: 8 * 1024 * 1024 } },
    "short:{name}": { history: { size: 5 } },
    "closed:{name}": { subscribe: () => false },
    "checked:{name}": {
      publish: (session, data) => {
        if (data === "forbidden") throw new Refused("not that word");
        return { data, node: session.node };
      },
    },
  },
  limits: { requestsPerSecond: 100_000 },
  methods: {
    echo: (_, params) => params,
    "who-serves": (session) => ({ node: session.node, pid: process.pid }),
    count: () => ++calls,
    fail: () => {
      throw new Refused("never");
    },
    slow: () => new Promise(() => {}),
    shout: async (session, params) => {
      await session.cluster.broadcast(params);
    },
  },
});
