// Elements of pages and drawings. Text only ever becomes text nodes: names come from files.

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element with attributes, listeners ("onclick") and children; "text" is its text, false and null leave an attribute out.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag @param {Record<string, any>} attributes @param {...(Node | string | null)} children @returns {HTMLElementTagNameMap[T]}
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") made.textContent = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null) made.setAttribute(name, value);
  }
  made.append(.../** @type {(Node | string)[]} */ (children.filter((child) => child !== null)));
  return made;
}

/** A name that lines may break where its parts end. @param {string} name @returns {(string | HTMLElement)[]} */
export function breakable(name) {
  return name.split(/(?<=[._/])/).flatMap((part) => [part, element("wbr")]);
}

/**
 * An element of SVG. @template {keyof SVGElementTagNameMap} T
 * @param {T} tag @param {Record<string, any>} attributes @param {string | null} text @returns {SVGElementTagNameMap[T]}
 */
export function drawn(tag, attributes = {}, text = null) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== null) made.textContent = text;
  return made;
}

/** What draws on a canvas. @param {HTMLCanvasElement} canvas @returns {CanvasRenderingContext2D} */
export function penOf(canvas) {
  const context = canvas.getContext("2d");
  if (!context) throw new Error("this browser does not draw on a canvas");
  return context;
}

const MEASURED = 20000; // texts whose widths are kept
/** @type {Map<string, number>} by font and text */
const widths = new Map();

/** How wide a text is in the font of *pen*; measuring costs as much as drawing, and each frame asks for the same. @param {CanvasRenderingContext2D} pen @param {string} text */
export function widthOf(pen, text) {
  const key = `${pen.font}\n${text}`;
  let found = widths.get(key);
  if (found === undefined) {
    if (widths.size >= MEASURED) widths.clear();
    found = pen.measureText(text).width;
    widths.set(key, found);
  }
  return found;
}

/** The value of a variable of the style sheet where *place* is. @param {string} name @param {Element} place @returns {string} */
export const color = (name, place) => getComputedStyle(place).getPropertyValue(name).trim();
