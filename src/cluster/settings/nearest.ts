// The known name that somebody may have meant. Pure.

const FAR = 3;

/** The nearest of the names; undefined when none is near. */
export function nearest(name: string, known: readonly string[]): string | undefined {
  const far = name.length < FAR ? 1 : FAR;
  let best: { name: string; distance: number } | undefined;
  for (const candidate of known) {
    const isPart = name.length >= FAR && candidate.includes(name);
    const distance = isPart ? 1 : editDistance(name, candidate);
    if (distance < (best?.distance ?? far)) best = { name: candidate, distance };
  }
  return best?.name;
}

/** How many letters must be added, removed or changed to make `b` of `a`. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const changed = row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(changed, row[j] + 1, next[j - 1] + 1));
    }
    row = next;
  }
  return row[b.length];
}
