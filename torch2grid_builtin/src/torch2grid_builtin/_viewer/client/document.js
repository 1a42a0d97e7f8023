// What a report holds as JSON in inert elements: its head, and a block for each page.

/** @param {string} name @returns {any} */
export const block = (name) => JSON.parse(/** @type {HTMLElement} */ (document.getElementById(name)).textContent ?? "null");

export const head = block("head");
