// The user's name, stored in the browser.

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
 * The name for this window. A typed name applies to every window; a random one only to this window,
 * so that two windows have two names.
 */
export function nameOfWindow(): string {
  const random = `${pick(FIRST)} ${pick(SECOND)}`;
  try {
    const known = localStorage.getItem(KEY) ?? sessionStorage.getItem(KEY);
    if (known !== null) return known;
    sessionStorage.setItem(KEY, random);
  } catch {
    // Storage is not available: the name lasts as long as the page.
  }
  return random;
}

export function rememberName(name: string): void {
  try {
    localStorage.setItem(KEY, name);
  } catch {
    // Storage is not available.
  }
}
