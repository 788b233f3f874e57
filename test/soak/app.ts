// The app of the soak test: a few shared channels, and channels that one client uses once.

import { app } from "../../src/node/app/index.ts";

export default app({
  channels: {
    "shared:{n}": { history: { size: 10 }, presence: true },
    "own:{n}": { history: { size: 0 } },
  },
  methods: { echo: (_, params) => params },
});
