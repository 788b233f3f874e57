// Questions about history that a relay has yet to answer, and the page whose publications are
// arriving. Pure.

import type { RelayMessageOf } from "../../wire/relay-messages.ts";
import type { OnPage, Page } from "./broker.ts";

/** Questions that may be unanswered. */
const QUESTIONS_MAX = 4096;

export class Questions {
  readonly #open = new Map<number, OnPage>();
  #last = 0;
  #arriving: { readonly page: Page; readonly onPage: OnPage; missing: number } | undefined;

  /** Whether publications that arrive now belong to a page, not to the stream. */
  get isPageArriving(): boolean {
    return this.#arriving !== undefined;
  }

  /** Adds a question. Returns its number; undefined: too many are open. */
  add(onPage: OnPage): number | undefined {
    if (this.#open.size >= QUESTIONS_MAX) return undefined;
    this.#last = (this.#last + 1) >>> 0;
    this.#open.set(this.#last, onPage);
    return this.#last;
  }

  /** A page begins; its publications follow. */
  pageBegins({
    request,
    found,
    count,
    gap,
    epoch,
    first,
    top,
    trimmed,
  }: RelayMessageOf<"page">): void {
    const onPage = this.#open.get(request);
    this.#open.delete(request);
    if (!found) return onPage?.(undefined);
    const page = pageOf({ epoch, first, top, trimmed }, gap);
    this.#arriving = { page, onPage: onPage ?? (() => {}), missing: count };
    if (count === 0) this.#end();
  }

  /**
   * A page cannot be read: its question has no answer, and the `count` publications that follow
   * are its own.
   */
  pageFailed(request: number, count: number): void {
    const onPage = this.#open.get(request);
    this.#open.delete(request);
    if (count > 0) this.#arriving = { page: unreadPage(), onPage: () => {}, missing: count };
    onPage?.(undefined);
  }

  /** The next publication of the page. */
  publicationArrived(offset: number, timeMs: number, payload: string): void {
    if (this.#arriving === undefined) return;
    const { offsets, timesMs, payloads } = this.#arriving.page;
    offsets.push(offset);
    timesMs.push(timeMs);
    payloads.push(payload);
    if (--this.#arriving.missing === 0) this.#end();
  }

  /** The link is lost: nothing will be answered. */
  linkLost(): void {
    const unanswered = [...this.#open.values()];
    if (this.#arriving !== undefined) unanswered.push(this.#arriving.onPage);
    this.#open.clear();
    this.#arriving = undefined;
    for (const onPage of unanswered) onPage(undefined);
  }

  #end(): void {
    const arrived = this.#arriving;
    this.#arriving = undefined;
    arrived?.onPage(arrived.page);
  }
}

const pageOf = (readable: Page["readable"], gap: Page["gap"]): Page => ({
  readable,
  gap,
  offsets: [],
  timesMs: [],
  payloads: [],
});

const unreadPage = (): Page =>
  pageOf({ epoch: "none", first: 0, top: 0, trimmed: "expired" }, null);
