// A process that answers but never gets ready.

import { obeySupervisor } from "../../../src/runtime/child-ipc.ts";

const nothing = () => {};
const stop = () => process.exit(0);
obeySupervisor({
  status: () => ({ state: "starting", connections: 0 }),
  drain: nothing,
  undrain: nothing,
  stop,
});
setInterval(nothing, 1000);
