// The app under attack: open channels of several kinds, a slow `connect` for those who ask for it,
// and a method with a mistake that ends its node.

import { app } from "../../src/node/app/index.ts";

const SLOW_CONNECT_MS = 400;

export default app({
  connect: async ({ request }) => {
    if (new URL(request.url).pathname === "/slow") await Bun.sleep(SLOW_CONNECT_MS);
    return {};
  },
  channels: {
    "watched:{n}": { history: { size: 5000 }, batchMs: 0 },
    "room:{n}": { history: { size: 100 } },
    "wide:{n}": { history: { size: 10 } },
    "present:{n}": { presence: true, history: { size: 0 } },
    "old:{n}": { history: { size: 2000, bytes: 4 * 1024 * 1024 } },
  },
  methods: {
    /** What a forgotten `catch` comes to. */
    crash: () => void Promise.reject(new Error("nobody has caught this")),
  },
});
