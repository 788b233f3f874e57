// A process that cannot start and says why.

import { failToStart } from "../../../src/runtime/child-ipc.ts";

failToStart("The app file is missing: give another with --app.");
