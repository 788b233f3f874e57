// The message list: messages in the order of their offsets, with notes about connection events
// between them.

import type { Message } from "tutti/client";
import type { Line } from "./messages.ts";
import { colour, element, make } from "./view.ts";

const LINES_MAX = 500;
/** Closer to the end than this, the list scrolls along with new lines. */
const NEAR_END_PX = 80;

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

/** The outcome of a message that this page sent. */
export type PendingLine = { published(): void; refused(why: string): void };

export class MessageList {
  readonly #list = element("log", HTMLOListElement);
  readonly #scroll = element("scroll", HTMLElement);

  addMessage({ offset, time, data }: Message<Line>, isMine: boolean, wasMissed: boolean): void {
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
    this.#insert(line, this.#list.querySelector(".pending"));
  }

  /** Adds a message that has no offset yet, below those that have one. */
  addPending(name: string, text: string): PendingLine {
    const line = make("li", "message mine pending");
    const place = make("span", "place", "sending");
    line.append(make("span", "name", name), make("span", "text", text), place);
    this.#insert(line, null);
    return {
      published: () => line.remove(),
      refused: (why) => {
        line.className = "message mine refused";
        place.textContent = why;
      },
    };
  }

  /** Adds a note about the connection; returns a function that changes its text. */
  addEvent(text: string, isLoss: boolean): (text: string, isLoss: boolean) => void {
    const line = make("li", "event");
    const span = make("span", "");
    line.append(span);
    const write = (text: string, isLoss: boolean) => {
      span.textContent = text;
      line.classList.toggle("lost", isLoss);
    };
    write(text, isLoss);
    this.#insert(line, this.#list.querySelector(".pending"));
    return write;
  }

  #insert(line: HTMLElement, before: Element | null): void {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroll;
    const isAtEnd = scrollHeight - scrollTop - clientHeight < NEAR_END_PX;
    this.#list.insertBefore(line, before);
    if (this.#list.childElementCount > LINES_MAX) this.#list.firstElementChild?.remove();
    if (isAtEnd) this.#scroll.scrollTop = this.#scroll.scrollHeight;
  }
}
