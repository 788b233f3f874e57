// The app that a cluster under test runs: everyone may do everything, and nothing is forgotten while
// the run lasts.

import { app } from "tutti";

export default app({
  channels: {
    "chaos/{name}": { history: { size: 1_000_000, ttl: "1d", bytes: 256 * 1024 * 1024 } },
  },
});
