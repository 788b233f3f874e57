// The judge: from what publishers and subscribers wrote down, whether anything acknowledged was
// lost, repeated, reordered, or skipped without a word. Pure, and linear in the history but for one
// sort of each channel's offsets.

import {
  type History,
  type Reading,
  type Report,
  RULES,
  type Rule,
  type Violation,
} from "./history.ts";
import { Places } from "./observed-log.ts";
import { Walk } from "./walk.ts";

/** Every way in which the history breaks a promise, each in a readable line; none: all is well. */
export function check(history: History): Violation[] {
  const violations: Violation[] = [];
  const report = (rule: Rule, line: string) =>
    violations.push({ rule, line: `${rule} ${RULES[rule]}: ${line}` });
  const published = new Map(
    history.publications.map((publication) => [publication.value, publication]),
  );
  const places = new Places(published, history, report);
  for (const { channel, publisher, value, outcome, position } of history.publications) {
    if (position !== undefined)
      places.found(channel, position.epoch, position.offset, value, publisher);
    if (outcome === "pending")
      report("C8", `${value} of ${publisher} in ${channel} was never answered`);
  }
  for (const reading of history.readings)
    for (const event of reading.events)
      if (event.type === "message")
        places.found(reading.channel, event.epoch, event.offset, event.value, reading.reader);
  places.settle();
  for (const reading of history.readings)
    new Walk(reading, places, published, history, report).walk();
  checkEnds(history.readings, report);
  checkNowhere(history, places, report);
  return violations;
}

/** At the end all who still read a channel stand in the same lineage of it. */
function checkEnds(readings: readonly Reading[], report: Report): void {
  const ends = new Map<string, { epoch: string; reader: string }>();
  for (const { channel, reader, events, isOver } of readings) {
    const last = events.at(-1);
    if (isOver === true || last === undefined) continue;
    const epoch = last.type === "message" ? last.epoch : last.position.epoch;
    const first = ends.get(channel);
    if (first === undefined) ends.set(channel, { epoch, reader });
    else if (first.epoch !== epoch)
      report(
        "C8",
        `${reader} ends in lineage ${epoch} of ${channel}, ${first.reader} in ${first.epoch}`,
      );
  }
}

/**
 * What was acknowledged without a place must have been read by those who have read all of its
 * channel.
 */
function checkNowhere(
  { publications, readings, hasLostPower }: History,
  places: Places,
  report: Report,
): void {
  if (hasLostPower === true) return;
  const fullyRead = new Set<string>();
  for (const { channel, events, isOver } of readings) {
    const [first, ...rest] = events;
    const isFull = isOver !== true && first?.type === "stands" && first.position.offset === 0;
    if (isFull && rest.every((event) => event.type === "message" || event.gap === undefined))
      fullyRead.add(channel);
  }
  for (const { channel, value, outcome, position } of publications)
    if (outcome === "ok" && position === undefined && fullyRead.has(channel) && !places.has(value))
      report("C1", `${value} was acknowledged in ${channel}, and nobody has ever seen it`);
}
