// Finds, makes and colours elements, and shows the state of the connection. It writes only
// textContent, so no message can become markup.

/** The element with this id. Throws if it is missing or of another kind. */
export function element<T extends HTMLElement>(id: string, kind: new () => T): T {
  const found = document.getElementById(id);
  if (found instanceof kind) return found;
  throw new Error(`the page has no ${kind.name} "${id}"`);
}

export function make(tag: keyof HTMLElementTagNameMap, className: string, text = ""): HTMLElement {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

/** Gives an element the colour of a node; consecutive nodes have distant hues. */
export function colour(target: HTMLElement, node: string): void {
  const number = Number(/\d+$/.exec(node)?.[0] ?? 0);
  target.classList.add("node-colour");
  target.style.setProperty("--hue", String((number * 137.5 + 30) % 360));
}

/** Shows which process serves this page; undefined: none. */
export function showServing(serving: { node: string; pid: number } | undefined): void {
  element("node", HTMLElement).textContent = serving?.node ?? "none";
  element("pid", HTMLElement).textContent = serving ? `process ${serving.pid}` : "";
  element("command", HTMLElement).textContent = serving ? `kill -9 ${serving.pid}` : "kill -9 …";
  element("copy", HTMLButtonElement).textContent = "Copy";
  const card = element("serving", HTMLElement);
  card.classList.toggle("node-colour", serving !== undefined);
  if (serving) colour(card, serving.node);
}

export function showStatus(state: "connected" | "waiting" | "closed", text: string): void {
  const status = element("status", HTMLElement);
  status.dataset.state = state;
  status.textContent = text;
}
