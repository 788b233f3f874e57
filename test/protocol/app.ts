// The app for the protocol tests.

import { app } from "../../src/node/app/index.ts";

export default app({
  channels: {
    "room:{name}": { presence: true, history: { size: 4 } },
    locked: { subscribe: () => false },
    "{other}": {},
  },
  methods: {
    double: (_session, params) => Number(params) * 2,
    echo: (_session, params) => params,
    announce: async (session, params) => {
      await session.cluster.broadcast(params);
    },
    fail: () => {
      throw new Error("This failure is part of a test.");
    },
  },
});
