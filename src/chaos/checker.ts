// Checks a recorded history: whether an acknowledged publication was lost, repeated, reordered, or
// skipped without a gap. Pure, and linear in the history except for one sort of each channel's
// offsets.

import {
  type History,
  type Reading,
  type Report,
  RULES,
  type Rule,
  type Violation,
} from "./history.ts";
import { ObservedLog } from "./observed-log.ts";
import { ReadingCheck } from "./reading-check.ts";

/** All violations of the guarantees in a history, one readable line each. */
export function check(history: History): Violation[] {
  const violations: Violation[] = [];
  const report = (rule: Rule, line: string) =>
    violations.push({ rule, line: `${rule} ${RULES[rule]}: ${line}` });
  const published = new Map(
    history.publications.map((publication) => [publication.value, publication]),
  );
  const log = new ObservedLog(published, history, report);
  for (const { channel, publisher, value, outcome, position } of history.publications) {
    if (position !== undefined)
      log.valueSeen(channel, position.epoch, position.offset, value, publisher);
    if (outcome === "pending")
      report("C8", `${value} of ${publisher} in ${channel} was never answered`);
  }
  for (const reading of history.readings)
    for (const event of reading.events)
      if (event.type === "message")
        log.valueSeen(reading.channel, event.epoch, event.offset, event.value, reading.reader);
  log.checkPublisherOrder();
  for (const reading of history.readings)
    new ReadingCheck(reading, { log, published, history, report }).checkEvents();
  checkFinalEpochs(history.readings, report);
  checkAcknowledgedWithoutPosition(history, log, report);
  return violations;
}

/** At the end, all remaining subscribers of a channel must be in the same lineage. */
function checkFinalEpochs(readings: readonly Reading[], report: Report): void {
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
 * A publication that was acknowledged without a position must appear wherever a channel was read
 * completely.
 */
function checkAcknowledgedWithoutPosition(
  { publications, readings, hasLostPower }: History,
  log: ObservedLog,
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
    if (outcome === "ok" && position === undefined && fullyRead.has(channel) && !log.hasSeen(value))
      report("C1", `${value} was acknowledged in ${channel}, and no subscriber received it`);
}
