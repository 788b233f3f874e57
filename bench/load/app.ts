// The app that tutti's nodes run in the benchmark: any channel, one method and a plain page.
// BENCH_HISTORY sets the history size of a channel; without it, the default applies.

import { app } from "tutti";

const size = process.env.BENCH_HISTORY;

export default app({
  channels: { "{channel}": size === undefined ? {} : { history: { size: Number(size) } } },
  methods: { echo: (_, params) => params },
  // Load comes from a few connections; none of the others has such limits.
  limits: {
    requestBytesPerSecond: 1024 * 1024 * 1024,
    answerBytesPerSecond: 1024 * 1024 * 1024,
    newChannelsPerSecond: 1_000_000,
  },
  fetch: () => new Response("Hello, world"),
});
