// The list of people: the sessions in presence, and the names they have published.

import type { Present } from "tutti/client";
import type { Name } from "./messages.ts";
import { element, make } from "./view.ts";

const SHOWN_MAX = 30;
const NAMES_MAX = 2000;

export class People {
  readonly #present = new Set<string>();
  readonly #names = new Map<string, string>();
  #us: string | undefined;

  /** Sets all present clients; `us` is this page's session. */
  setPresent(present: readonly Present[], us: string | undefined): void {
    this.#us = us;
    this.#present.clear();
    for (const { client } of present) this.#present.add(client);
    this.#render();
  }

  clientJoined(client: string): void {
    this.#present.add(client);
    this.#render();
  }

  clientLeft(client: string): void {
    this.#present.delete(client);
    this.#render();
  }

  nameReceived({ client, name }: Name): void {
    this.#names.delete(client);
    this.#names.set(client, name);
    const [oldest] = this.#names.keys();
    if (this.#names.size > NAMES_MAX && oldest !== undefined) this.#names.delete(oldest);
    if (this.#present.has(client)) this.#render();
  }

  #render(): void {
    const people = [...this.#present].map((client) => ({
      name: this.#names.get(client) ?? "someone",
      isUs: client === this.#us,
    }));
    people.sort((a, b) => Number(b.isUs) - Number(a.isUs) || a.name.localeCompare(b.name));
    const items = people.slice(0, SHOWN_MAX).map(({ name, isUs }) => {
      const item = make("li", "", name);
      if (isUs) item.append(make("span", "us", " (you)"));
      return item;
    });
    if (people.length > SHOWN_MAX)
      items.push(make("li", "us", `and ${people.length - SHOWN_MAX} more`));
    element("people", HTMLUListElement).replaceChildren(...items);
    element("count", HTMLElement).textContent = String(people.length);
  }
}
