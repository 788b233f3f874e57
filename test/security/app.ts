// The app of the security tests: it authenticates by cookie, and has methods that fail.

import { app, Refused } from "../../src/node/app/index.ts";

const revoked = new Set<string>();

export default app({
  connect: ({ request }) => {
    const cookie = request.headers.get("cookie") ?? "";
    if (cookie.includes("wrong")) throw new Refused("who are you?");
    if (cookie.includes("bug")) throw new Error("the app has a bug");
    return { user: "ada", info: { name: "Ada" }, data: cookie };
  },
  channels: {
    "room:{name}": { history: { size: 100 }, presence: true },
    "granted:{name}": { history: { size: 100 }, subscribe: (_, { name }) => !revoked.has(name) },
    "checked:{name}": {
      publish: () => {
        throw new Error("the app has another bug");
      },
    },
  },
  methods: {
    address: ({ address }) => address,
    revoke: (_, name) => void revoked.add(String(name)),
    throws: () => {
      throw new Error("the app has a third bug");
    },
    rejects: async () => {
      await Promise.reject(new Error("the app has a fourth bug"));
    },
    fills: ({ cluster }) => void cluster.publish("no such channel", "x").catch(() => {}),
  },
});
