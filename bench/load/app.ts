// The app that tutti's nodes run in the benchmark: any channel, one method and a plain page.
// BENCH_HISTORY sets the history size of a channel; without it, the default applies.

import { app } from "tutti";

const size = process.env.BENCH_HISTORY;

export default app({
  channels: { "{channel}": size === undefined ? {} : { history: { size: Number(size) } } },
  methods: { echo: (_, params) => params },
  fetch: () => new Response("Hello, world"),
});
