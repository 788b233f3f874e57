// Clients' history requests for one channel: equal ones that are open at once are sent to the relay
// once. Pure.

import { encodeRemembered } from "../../wire/client-messages.ts";
import type { Position } from "../../wire/position.ts";
import type { OnPage, Page, Question } from "../uplink/broker.ts";

/**
 * `position`: the newest publication. `more`: whether there is more, in the direction asked for.
 */
export type HistoryAnswer = {
  readonly position: Position;
  readonly more: boolean;
  readonly gap: Page["gap"];
  /** JSON text. */
  readonly data: string;
};
/** Gets the answer to a history request. Undefined: there was none in time. */
export type OnHistory = (answer: HistoryAnswer | undefined) => void;

type HistoryRequest = {
  readonly question: Question;
  readonly clients: { readonly onHistory: OnHistory; readonly deadlineMs: number }[];
  isSent: boolean;
};

export class HistoryRequests {
  /** Asks the relay; false: not now. */
  readonly #requestHistory: (question: Question, onPage: OnPage) => boolean;
  readonly #open = new Map<string, HistoryRequest>();

  constructor(requestHistory: (question: Question, onPage: OnPage) => boolean) {
    this.#requestHistory = requestHistory;
  }

  get size(): number {
    return this.#open.size;
  }

  add(question: Question, onHistory: OnHistory, deadlineMs: number): void {
    const { since, limit, reverse } = question;
    const key = `${since?.epoch} ${since?.offset} ${limit} ${reverse}`;
    let request = this.#open.get(key);
    if (request === undefined) {
      request = { question, clients: [], isSent: false };
      this.#open.set(key, request);
    }
    request.clients.push({ onHistory, deadlineMs });
    this.#send(key, request);
  }

  /** The channel is open (again): sends what is not sent. */
  retry(): void {
    for (const [key, request] of this.#open) this.#send(key, request);
  }

  /** Gives up those that have waited too long. */
  expire(nowMs: number): void {
    for (const [key, { clients, isSent }] of this.#open) {
      while (clients.length > 0 && clients[0].deadlineMs < nowMs)
        clients.shift()?.onHistory(undefined);
      if (clients.length === 0 && !isSent) this.#open.delete(key);
    }
  }

  #send(key: string, request: HistoryRequest): void {
    if (request.isSent) return;
    request.isSent = this.#requestHistory(request.question, (page) => {
      request.isSent = false;
      if (page === undefined) return;
      this.#open.delete(key);
      const answer = answerOf(request.question, page);
      for (const { onHistory } of request.clients) onHistory(answer);
    });
  }
}

function answerOf(
  { reverse }: Question,
  { readable, gap, offsets, timesMs, payloads }: Page,
): HistoryAnswer {
  const { epoch, first, top } = readable;
  const edge = reverse ? offsets.at(0) : offsets.at(-1);
  const more = edge !== undefined && (reverse ? edge > first : edge < top);
  const entries = offsets.map((offset, i) => encodeRemembered(offset, timesMs[i], payloads[i]));
  return { position: { epoch, offset: top }, more, gap, data: `[${entries.join(",")}]` };
}
