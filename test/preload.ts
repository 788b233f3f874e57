// Before all tests: on a busy machine a process may take a while to start.

import { setDefaultTimeout } from "bun:test";

setDefaultTimeout(30_000);
