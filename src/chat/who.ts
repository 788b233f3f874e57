// What this window's person is called: chosen once, kept in the browser.

const KEY = "tutti-chat-name";
const FIRST = [
  "Amber",
  "Quiet",
  "Early",
  "Silver",
  "Merry",
  "Northern",
  "Little",
  "Velvet",
  "Bright",
  "Gentle",
];
const SECOND = [
  "Wren",
  "Cello",
  "Harbour",
  "Lantern",
  "Fox",
  "Oboe",
  "Meadow",
  "Sparrow",
  "Viola",
  "Cedar",
];

const pick = (words: readonly string[]): string => words[Math.floor(Math.random() * words.length)];

/**
 * A name that was typed holds for every window; one that was drawn, for this window only: so two
 * windows make two people.
 */
export function nameOfWindow(): string {
  const drawn = `${pick(FIRST)} ${pick(SECOND)}`;
  try {
    const known = localStorage.getItem(KEY) ?? sessionStorage.getItem(KEY);
    if (known !== null) return known;
    sessionStorage.setItem(KEY, drawn);
  } catch {
    // A browser that stores nothing for us: the name lasts as long as the page.
  }
  return drawn;
}

export function rememberName(name: string): void {
  try {
    localStorage.setItem(KEY, name);
  } catch {
    // As above.
  }
}
