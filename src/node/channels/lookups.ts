// Clients' questions about one channel's history: equal ones that are open at once are asked once.
// Pure.

import type { OnPage, Page, Question } from "../uplink/broker.ts";

/**
 * What answers a client's history request; the fields of its `ok` behind `id`. Undefined: nobody
 * could answer in time.
 */
export type OnLookup = (answer: string | undefined) => void;

type Lookup = {
  readonly question: Question;
  readonly askers: { readonly onLookup: OnLookup; readonly deadlineMs: number }[];
  isAsked: boolean;
};

export class Lookups {
  /** Asks the relay; false: not now. */
  readonly #ask: (question: Question, onPage: OnPage) => boolean;
  readonly #open = new Map<string, Lookup>();

  constructor(ask: (question: Question, onPage: OnPage) => boolean) {
    this.#ask = ask;
  }

  get size(): number {
    return this.#open.size;
  }

  add(question: Question, onLookup: OnLookup, deadlineMs: number): void {
    const { since, limit, reverse } = question;
    const key = `${since?.epoch} ${since?.offset} ${limit} ${reverse}`;
    let lookup = this.#open.get(key);
    if (lookup === undefined) {
      lookup = { question, askers: [], isAsked: false };
      this.#open.set(key, lookup);
    }
    lookup.askers.push({ onLookup, deadlineMs });
    this.#send(key, lookup);
  }

  /** The channel is open (again): asks what is not being asked. */
  retry(): void {
    for (const [key, lookup] of this.#open) this.#send(key, lookup);
  }

  /** Gives up those that have waited too long. */
  expire(nowMs: number): void {
    for (const [key, lookup] of this.#open) {
      while (lookup.askers.length > 0 && lookup.askers[0].deadlineMs < nowMs)
        lookup.askers.shift()?.onLookup(undefined);
      if (lookup.askers.length === 0 && !lookup.isAsked) this.#open.delete(key);
    }
  }

  #send(key: string, lookup: Lookup): void {
    if (lookup.isAsked) return;
    lookup.isAsked = this.#ask(lookup.question, (page) => {
      lookup.isAsked = false;
      if (page === undefined) return;
      this.#open.delete(key);
      const answer = answerText(lookup.question, page);
      for (const { onLookup } of lookup.askers) onLookup(answer);
    });
  }
}

/**
 * `position`: the newest publication. `more`: whether there is more, in the direction asked for.
 */
function answerText(
  { reverse }: Question,
  { readable, gap, offsets, timesMs, payloads }: Page,
): string {
  const { epoch, first, top } = readable;
  const edge = reverse ? offsets.at(0) : offsets.at(-1);
  const more = edge !== undefined && (reverse ? edge > first : edge < top);
  const data = offsets
    .map((offset, i) => `{"offset":${offset},"time":${timesMs[i]},"data":${payloads[i]}}`)
    .join(",");
  const lost = gap === null ? "" : `,"gap":${JSON.stringify(gap)}`;
  return `"position":${JSON.stringify({ epoch, offset: top })},"more":${more}${lost},"data":[${data}]`;
}
