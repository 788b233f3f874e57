// A tutorial server on a cluster: a list of users that any client may request or broadcast.
//
//   bun run cluster --nodes 4 --app examples/article/app.ts
//
// On a WebSocket to ws://127.0.0.1:8080, `{"type":"get-users"}` is answered to its sender:
//   {"type":"ok","data":[{"id":1,"firstname":"John","lastname":"Doe"}]}
// and `{"type":"broadcast"}` reaches every client on every node:
//   {"type":"message","channel":"$everyone","offset":1,"time":1735689600000,"data":[{"id":1,…}]}

import { app } from "tutti";

const users = [{ id: 1, firstname: "John", lastname: "Doe" }];

export default app({
  methods: {
    "get-users": () => users,
    broadcast: async (session) => {
      await session.cluster.broadcast(users);
    },
  },
});
