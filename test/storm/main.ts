// Runs a storm by hand:
//   bun test/storm/main.ts storm [--clients 5000] [--bystanders 200] [--channels 20]
//     [--lb-workers 1]
//   bun test/storm/main.ts slow [--stalled 100] [--bystanders 900] [--publications 150]

import { parseArgs } from "node:util";
import { slow } from "./slow.ts";
import { storm } from "./storm.ts";

const flag = { type: "string" } as const;
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    clients: flag,
    bystanders: flag,
    channels: flag,
    "lb-workers": flag,
    stalled: flag,
    publications: flag,
  },
});
const number = (text: string | undefined, byDefault: number) =>
  text === undefined ? byDefault : Number(text);
const report =
  positionals[0] === "slow"
    ? await slow({
        stalled: number(values.stalled, 100),
        bystanders: number(values.bystanders, 900),
        publications: number(values.publications, 150),
      })
    : await storm({
        clients: number(values.clients, 5000),
        bystanders: number(values.bystanders, 200),
        channels: number(values.channels, 20),
        lbWorkers: number(values["lb-workers"], 1),
      });
console.log(report);
process.exit(0);
