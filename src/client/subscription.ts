// One channel that this client is subscribed to: a single stream from the node, which any number of
// readers share. Each has a place of its own; a question to the node moves the stream to where the
// hindmost needs it, and nobody is given a publication twice. Pure.

import type { NodeMessageOf } from "../wire/client-messages.ts";
import type { Gap, Position } from "../wire/position.ts";
import { backoffMs } from "./backoff.ts";
import { Reader, type Start, type Subscribed } from "./reader.ts";

/** What a reader is told. */
export type ReaderNews =
  | { readonly type: "gap"; readonly gap: Gap; readonly position: Position }
  | { readonly type: "subscribed"; readonly subscribed: Subscribed };
export type TellReader = (reader: Reader, news: ReaderNews) => void;

export class Subscription {
  readonly channel: string;
  readonly readers = new Map<number, Reader>();
  readonly #tell: TellReader;
  /** All that follows it in its epoch arrives on this connection; undefined: nothing does. */
  #stream: Position | undefined;
  /** The latest question, and where it asks to begin while the answer is outstanding. */
  #ask = 0;
  #asked: Start | undefined;
  /** The stream was moved back for one who wanted old publications: its next may be old. */
  #isMovedBack = false;
  #retryAt = 0;
  #attempt = 0;

  constructor(channel: string, tell: TellReader) {
    this.channel = channel;
    this.#tell = tell;
  }

  /** A new reader, or one that begins anew; without a start, one that is known goes on. */
  addReader(id: number, start: Start | undefined): Reader {
    const known = this.readers.get(id);
    const reader = known ?? new Reader(id, start ?? {});
    if (known === undefined) this.readers.set(id, reader);
    else if (start !== undefined) known.restart(start);
    this.#settle();
    return reader;
  }

  isDue(now: number): boolean {
    return this.#asked === undefined && this.#retryAt <= now && this.#question() !== undefined;
  }

  /** When it is due, if that is later than `now`. */
  wakeAt(now: number): number {
    const isLater =
      this.#asked === undefined && this.#retryAt > now && this.#question() !== undefined;
    return isLater ? this.#retryAt : Number.POSITIVE_INFINITY;
  }

  /** The frame that moves the stream to where it is needed; `ask` numbers the question. */
  subscribeFrame(ask: number): string {
    const start = this.#question() ?? {};
    this.#ask = ask;
    this.#asked = start;
    const { since, last } = start;
    const from = since ? { since: { epoch: since.epoch, offset: since.offset } } : { last };
    return JSON.stringify({ type: "subscribe", id: `s${ask}`, channel: this.channel, ...from });
  }

  /** Whether this is the latest question: answers to older ones say nothing any more. */
  isLatestSubscribe(ask: number): boolean {
    return this.#ask === ask && (this.#asked !== undefined || this.#stream !== undefined);
  }

  /** False where the reply lacks a position: a subscribe is never answered without. */
  subscribeAccepted({ position, recovered = true, gap }: NodeMessageOf<"ok">): boolean {
    const asked = this.#asked;
    if (asked === undefined) return true;
    if (position === undefined) return false;
    this.#asked = undefined;
    this.#stream = position;
    this.#attempt = 0;
    if (isNext(asked)) this.#isMovedBack = false;
    const before = asked.since?.offset ?? 0;
    const unnamed: Gap = { reason: "epoch", from: before + 1, to: position.offset };
    const lost = recovered && gap === undefined ? undefined : (gap ?? unnamed);
    for (const reader of this.readers.values()) this.#readerAnswered(reader, asked, position, lost);
    this.#settle();
    return true;
  }

  /** The node cannot take it now: it is asked again later. */
  postpone(now: number, random: number): void {
    this.#retryAt = now + backoffMs(++this.#attempt, random);
  }

  /**
   * Moves the stream to `offset` and returns where it was; undefined when the publication is not
   * of the stream: seen, or to come again.
   */
  acceptMessage(offset: number): Position | undefined {
    const stream = this.#stream;
    if (stream === undefined || offset <= stream.offset) return undefined;
    this.#stream = { epoch: stream.epoch, offset };
    return stream;
  }

  /** The stream goes on after `position`. */
  gapArrived(gap: Gap, position: Position): void {
    const stream = this.#stream;
    if (stream === undefined) return;
    this.#stream = position;
    for (const reader of this.readers.values()) {
      if (reader.isPaused || !reader.isCovered(stream)) continue;
      const missed = reader.missed(gap, position);
      if (missed === undefined) continue;
      reader.moveTo(position);
      this.#tell(reader, { type: "gap", gap: missed, position });
    }
  }

  pause(id: number): void {
    this.readers.get(id)?.pause();
  }

  resume(id: number): void {
    this.readers.get(id)?.resume();
    this.#settle();
  }

  /** Nothing arrives any more: every reader is to be served anew. */
  streamLost(): void {
    this.#stream = undefined;
    this.#asked = undefined;
    this.#isMovedBack = false;
    this.#retryAt = 0;
    for (const reader of this.readers.values()) reader.streamLost();
  }

  /**
   * Where the stream has to begin for a reader that it does not serve; undefined: it serves all.
   * First those who have read, from the place of the hindmost (of several epochs one at a time: the
   * answer brings its readers into the newest); then who wants what comes next; then the others.
   */
  #question(): Start | undefined {
    let since: Position | undefined;
    let start: Start | undefined;
    for (const reader of this.readers.values()) {
      if (reader.isPaused) continue;
      const { position } = reader;
      if (position === undefined) {
        if (start === undefined || (!isNext(start) && isNext(reader.start ?? {})))
          start = reader.start;
      } else if (
        !reader.isCovered(this.#stream) &&
        (since === undefined || (position.epoch === since.epoch && position.offset < since.offset))
      )
        since = position;
    }
    return since === undefined ? start : { since };
  }

  /** What an answer to `asked` means for one reader. */
  #readerAnswered(reader: Reader, asked: Start, position: Position, lost: Gap | undefined): void {
    if (reader.isPaused) return;
    const at = reader.position;
    if (at === undefined) {
      if (reader.start === undefined || !isSameStart(reader.start, asked)) return;
      if (!isNext(asked)) this.#isMovedBack = true;
      this.#standAt(reader, position, lost);
      return;
    }
    const { since } = asked;
    if (since === undefined || since.epoch !== at.epoch || since.offset > at.offset) return;
    const missed = lost === undefined ? undefined : reader.missed(lost, position);
    const isAhead = at.epoch === position.epoch && at.offset >= position.offset;
    const goesOnAt = missed === undefined && isAhead ? at : position;
    if (!reader.isStanding) return this.#standAt(reader, goesOnAt, missed);
    reader.moveTo(goesOnAt);
    if (missed !== undefined) this.#tell(reader, { type: "gap", gap: missed, position });
    return undefined;
  }

  /** Readers whom the stream serves as it is take it up without a question. */
  #settle(): void {
    const stream = this.#stream;
    if (stream === undefined) return;
    let newest = stream.offset;
    for (const { position } of this.readers.values())
      if (position?.epoch === stream.epoch) newest = Math.max(newest, position.offset);
    for (const reader of this.readers.values()) {
      if (reader.isPaused || reader.isStanding) continue;
      const { position, start } = reader;
      if (position !== undefined && reader.isCovered(stream))
        this.#standAt(reader, position, undefined);
      else if (start !== undefined && isNext(start) && !this.#isMovedBack)
        this.#standAt(reader, { epoch: stream.epoch, offset: newest }, undefined);
    }
  }

  #standAt(reader: Reader, position: Position, gap: Gap | undefined): void {
    const subscribed = reader.stand(position, gap);
    if (gap !== undefined) this.#tell(reader, { type: "gap", gap, position });
    this.#tell(reader, { type: "subscribed", subscribed });
  }
}

/** Begins at what comes next. */
const isNext = ({ since, last = 0 }: Start): boolean => since === undefined && last === 0;

function isSameStart(a: Start, b: Start): boolean {
  return (
    a.since?.epoch === b.since?.epoch &&
    a.since?.offset === b.since?.offset &&
    (a.last ?? 0) === (b.last ?? 0)
  );
}
