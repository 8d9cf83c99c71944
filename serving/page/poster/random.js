// Numbers that look random and are the same for the same text, so that a film always has the same poster.

/** A generator of numbers in [0, 1): FNV-1a of the text seeds mulberry32. */
export function randomOf(text) {
  let state = 0x811c9dc5;
  for (const letter of text) state = Math.imul(state ^ letter.codePointAt(0), 0x01000193);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** A number from `low` to `high`. */
export function between(random, low, high) {
  return low + (high - low) * random();
}

/** One of the values. */
export function oneOf(random, values) {
  return values[Math.floor(random() * values.length)];
}

/** 0, 1, … n - 1. */
export function range(n) {
  return Array.from({ length: n }, (_, at) => at);
}
