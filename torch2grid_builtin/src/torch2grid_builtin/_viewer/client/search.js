// What a search finds: every word is in the text, every pattern fits the name. Case does not matter.

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

/**
 * What tells whether something is found. Words are looked for in the name and in what else is written beside it, patterns are for the whole name.
 * @param {string} query @returns {(name: string, beside?: string) => boolean}
 */
export function finder(query) {
  const parts = query.split(/\s+/).filter(Boolean);
  const globs = parts.filter((part) => /[*?[]/.test(part)).map(globbed);
  const words = parts.filter((part) => !/[*?[]/.test(part)).map((word) => word.toLowerCase());
  return (name, beside = "") => {
    const text = `${name} ${beside}`.toLowerCase();
    return globs.every((glob) => glob.test(name)) && words.every((word) => text.includes(word));
  };
}
