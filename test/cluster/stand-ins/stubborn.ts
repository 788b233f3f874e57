// A process that does not stop when it is told to.

import { obeySupervisor, report } from "../../../src/runtime/child-ipc.ts";

const nothing = () => {};
obeySupervisor({
  status: () => ({ state: "up", connections: 0 }),
  drain: nothing,
  undrain: nothing,
  stop: nothing,
});
report({ type: "ready", address: "127.0.0.1:1" });
setInterval(nothing, 1000);
