// A contiguous run of one channel's publications in a node's cache: every one after `after` up to
// `upTo`, as the JSON text of the `message` that clients get. Pure.

const COMPACT_AT = 256;

export class PublicationRun {
  /** A reader at this offset or later finds all that follows, up to `upTo`. */
  after: number;
  /** The offset of the newest publication. */
  upTo: number;
  /** Characters of the texts. */
  size = 0;
  #offsets: number[] = [];
  #times: number[] = [];
  #texts: string[] = [];
  #head = 0;

  /** An empty run: it begins after this offset. */
  constructor(after: number) {
    this.after = after;
    this.upTo = after;
  }

  get count(): number {
    return this.#offsets.length - this.#head;
  }

  /** The offset of the `index`th publication, oldest first. */
  offsetAt(index: number): number {
    return this.#offsets[this.#head + index];
  }

  textAt(index: number): string {
    return this.#texts[this.#head + index];
  }

  /** Whether a reader at this offset misses nothing by continuing with this run. */
  covers(offset: number): boolean {
    return offset >= this.after && offset <= this.upTo;
  }

  /** Whether the run covers this offset and has publications after it. */
  hasAfter(offset: number): boolean {
    return offset >= this.after && offset < this.upTo;
  }

  /** The index of the first publication after `offset`; `count` when there is none. */
  indexAfter(offset: number): number {
    let low = this.#head;
    let high = this.#offsets.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#offsets[middle] > offset) high = middle;
      else low = middle + 1;
    }
    return low - this.#head;
  }

  /** Adds the next publication; offsets only grow. `timeMs`: when the relay accepted it. */
  append(offset: number, timeMs: number, text: string): void {
    this.#offsets.push(offset);
    this.#times.push(timeMs);
    this.#texts.push(text);
    this.upTo = offset;
    this.size += text.length;
  }

  /** Drops the oldest until `countMax` publications and `sizeMax` characters are left, or less. */
  trim(countMax: number, sizeMax: number): void {
    while (this.count > countMax || (this.size > sizeMax && this.count > 0)) this.#dropOldest();
  }

  /** Drops what the relay accepted before that time. */
  dropBefore(timeMs: number): void {
    while (this.count > 0 && this.#times[this.#head] < timeMs) this.#dropOldest();
  }

  #dropOldest(): void {
    this.after = this.#offsets[this.#head];
    this.size -= this.#texts[this.#head].length;
    this.#texts[this.#head] = "";
    this.#head++;
    if (this.#head < COMPACT_AT || this.#head * 2 < this.#offsets.length) return;
    this.#offsets.splice(0, this.#head);
    this.#times.splice(0, this.#head);
    this.#texts.splice(0, this.#head);
    this.#head = 0;
  }
}
