// A process that takes long to start and reports progress meanwhile, as a relay that reads a long
// journal does.

import { report } from "../../../src/runtime/child-ipc.ts";

for (let step = 0; step < 15; step++) {
  report({ type: "progress" });
  await Bun.sleep(100);
}
await import("./well.ts");
