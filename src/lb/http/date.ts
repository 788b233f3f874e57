// The Date of messages (RFC 9110, 6.6.1): written once a second, not once a message.

export class HttpDate {
  readonly #time: () => number;
  #second = Number.NaN;
  #text = "";

  /** `time`: ms since 1970. */
  constructor(time: () => number) {
    this.#time = time;
  }

  /** The time now, as IMF-fixdate (RFC 9110, 5.6.7). */
  get text(): string {
    const second = Math.floor(this.#time() / 1000);
    if (second !== this.#second) {
      this.#second = second;
      this.#text = new Date(second * 1000).toUTCString();
    }
    return this.#text;
  }
}
