// The app that a cluster under test runs: it allows every request, and its history is large enough
// for the whole run.

import { app } from "tutti";

export default app({
  channels: {
    "chaos/{name}": { history: { size: 1_000_000, ttl: "1d", bytes: 256 * 1024 * 1024 } },
  },
});
