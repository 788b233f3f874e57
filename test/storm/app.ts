// The app of the storm tests: channels with a large history, and channels with a small one.

import { app } from "../../src/node/app/index.ts";

export default app({
  channels: {
    "storm:{n}": { history: { size: 5000, bytes: 8 * 1024 * 1024 } },
    "kept:{n}": { history: { size: 5000, bytes: 64 * 1024 * 1024 } },
    "short:{n}": { history: { size: 5 } },
  },
  // The publisher floods on purpose.
  limits: { bufferedBytes: 256 * 1024, requestBytesPerSecond: 1024 * 1024 * 1024 },
});
