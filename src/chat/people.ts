// Who is here: the sessions that presence tells of, and the names they have given themselves.

import type { Present } from "tutti/client";
import type { Name } from "./messages.ts";
import { element, make } from "./view.ts";

const SHOWN_MAX = 30;
const NAMES_MAX = 2000;

export class People {
  readonly #here = new Set<string>();
  readonly #names = new Map<string, string>();
  #us: string | undefined;

  /** All that are here now; `us` is our own session. */
  replace(present: readonly Present[], us: string | undefined): void {
    this.#us = us;
    this.#here.clear();
    for (const { client } of present) this.#here.add(client);
    this.#show();
  }

  join(client: string): void {
    this.#here.add(client);
    this.#show();
  }

  leave(client: string): void {
    this.#here.delete(client);
    this.#show();
  }

  call({ client, name }: Name): void {
    this.#names.delete(client);
    this.#names.set(client, name);
    const [oldest] = this.#names.keys();
    if (this.#names.size > NAMES_MAX && oldest !== undefined) this.#names.delete(oldest);
    if (this.#here.has(client)) this.#show();
  }

  #show(): void {
    const people = [...this.#here].map((client) => ({
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
