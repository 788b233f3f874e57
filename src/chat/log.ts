// The conversation: lines in the order of their offsets, and notes about what happened to the
// connection between them.

import type { Message } from "tutti/client";
import type { Line } from "./messages.ts";
import { colour, element, make } from "./view.ts";

const LINES_MAX = 500;
/** Nearer to the end than this, the reader wants to stay there. */
const NEAR_END_PX = 80;

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

/** What becomes of a line that we have said. */
export type LineNote = { placed(): void; refused(why: string): void };

export class Log {
  readonly #list = element("log", HTMLOListElement);
  readonly #scroll = element("scroll", HTMLElement);

  message({ offset, time, data }: Message<Line>, isMine: boolean, wasMissed: boolean): void {
    const place = make("span", "place", `#${offset}`);
    const dot = make("span", "dot");
    dot.ariaHidden = "true";
    place.append(dot, data.node);
    colour(place, data.node);
    const when = document.createElement("time");
    when.dateTime = new Date(time).toISOString();
    when.textContent = clock.format(time);
    const name = make("span", "name", data.name);
    name.append(when);
    const line = make("li", "message");
    line.classList.toggle("mine", isMine);
    line.classList.toggle("missed", wasMissed);
    line.dataset.offset = String(offset);
    line.append(name, make("span", "text", data.text), place);
    this.#add(line, this.#list.querySelector(".pending"));
  }

  /** A line of ours that has no place yet: it stays below those that have. */
  pending(name: string, text: string): LineNote {
    const line = make("li", "message mine pending");
    const place = make("span", "place", "sending");
    line.append(make("span", "name", name), make("span", "text", text), place);
    this.#add(line, null);
    return {
      placed: () => line.remove(),
      refused: (why) => {
        line.className = "message mine refused";
        place.textContent = why;
      },
    };
  }

  /** A note about the connection. Returns what changes its words. */
  event(words: string, isLoss: boolean): (words: string, isLoss: boolean) => void {
    const line = make("li", "event");
    const text = make("span", "");
    line.append(text);
    const write = (words: string, isLoss: boolean) => {
      text.textContent = words;
      line.classList.toggle("lost", isLoss);
    };
    write(words, isLoss);
    this.#add(line, this.#list.querySelector(".pending"));
    return write;
  }

  #add(line: HTMLElement, before: Element | null): void {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroll;
    const isAtEnd = scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
    this.#list.insertBefore(line, before);
    if (this.#list.childElementCount > LINES_MAX) this.#list.firstElementChild?.remove();
    if (isAtEnd) this.#scroll.scrollTop = this.#scroll.scrollHeight;
  }
}
