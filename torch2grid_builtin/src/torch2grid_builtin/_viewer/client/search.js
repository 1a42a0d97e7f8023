// What a search finds: every word is in the text, every glob fits the name, as --only takes them. Case does not matter.

/** A glob as a regular expression for the whole name: * is any text, ? one character, [abc] and [!abc] one of some. @param {string} glob @returns {RegExp} */
export function globbed(glob) {
  let source = "";
  for (let i = 0; i < glob.length; i++) {
    const close = glob[i] === "[" ? glob.indexOf("]", i + (glob[i + 1] === "!" ? 3 : 2)) : -1;
    if (glob[i] === "*") source += ".*";
    else if (glob[i] === "?") source += ".";
    else if (close > 0) {
      const inside = glob.slice(i + 1, close).replace(/[\\\]^]/g, "\\$&");
      source += inside.startsWith("!") ? `[^${inside.slice(1)}]` : `[${inside}]`;
      i = close;
    } else source += glob[i].replace(/[.+^${}()|[\]\\/]/g, "\\$&");
  }
  try {
    return new RegExp(`^${source}$`, "isu");
  } catch {
    return /^(?!)/; // a range that runs backwards fits nothing
  }
}

/** Whether parts of a glob between its stars come one after the other, the first and the last at the ends. @param {string[]} parts @returns {(name: string) => boolean} */
function starred(parts) {
  const [first, last] = [parts[0], parts[parts.length - 1]];
  const inner = parts.slice(1, -1);
  return (name) => {
    if (!name.startsWith(first) || !name.endsWith(last) || name.length < first.length + last.length) return false;
    let from = first.length;
    for (const part of inner) {
      const place = name.indexOf(part, from);
      if (place < 0) return false;
      from = place + part.length;
    }
    return from <= name.length - last.length;
  };
}

const GLOB = /[*?]|\[.+\]/;

/** Whether a name fits a glob, or is the same text, both in small letters. @param {string} glob @returns {(name: string) => boolean} */
function fitting(glob) {
  if (!/[?[]/.test(glob)) return starred(glob.split("*")); // much faster than an expression where there are several stars
  const expression = globbed(glob);
  return (name) => name === glob || expression.test(name);
}

/**
 * What tells whether something is found. Words are looked for in the name and in what else is written beside it, patterns are for the whole name.
 * @param {string} query @returns {(name: string, beside?: string) => boolean}
 */
export function finder(query) {
  const parts = query.toLowerCase().split(/\s+/).filter(Boolean);
  const globs = parts.filter((part) => GLOB.test(part)).map(fitting);
  const words = parts.filter((part) => !GLOB.test(part));
  return (name, beside = "") => {
    const lower = name.toLowerCase();
    if (!globs.every((fits) => fits(lower))) return false;
    const text = words.length && beside ? `${lower} ${beside.toLowerCase()}` : lower;
    return words.every((word) => text.includes(word));
  };
}
