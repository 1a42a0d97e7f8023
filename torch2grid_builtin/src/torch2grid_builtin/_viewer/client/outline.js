// The modules of a model as a tree with totals, one tab stop for all of it, and a search that hides what does not match.

import { element } from "./elements.js";
import { grouped } from "./format.js";
import { finder } from "./search.js";

const ROW = 26; // CSS pixels a line
const AHEAD = 10; // lines drawn above and below what is in sight

/**
 * A module or a tensor. tensor: its number, −1 for a module. alike: how many numbered modules of one build a line stands for; first: the one of them that says so, for the others.
 * @typedef {{name: string, full: string, depth: number, tensor: number, tensors: number[], weights: number, children: Entry[], open: boolean, alike: number, first: Entry | null}} Entry
 */

/** The number of weights in few letters. @param {number} count */
export function shortCount(count) {
  for (const [size, letter] of /** @type {[number, string][]} */ ([[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "k"]])) {
    if (count >= size) return `${Number((count / size).toPrecision(3))}${letter}`;
  }
  return String(count);
}

/**
 * The tree of names with dots. @param {any[][]} tensors names with shapes @returns {Entry[]}
 */
export function treeOf(tensors) {
  /** @type {Entry} */
  const root = { name: "", full: "", depth: -1, tensor: -1, tensors: [], weights: 0, children: [], open: true, alike: 1, first: null };
  /** @type {Map<string, Entry>} */
  const known = new Map();
  tensors.forEach(([full, shape], number) => {
    const weights = shape.reduce((/** @type {number} */ product, /** @type {number} */ side) => product * side, 1);
    const parts = full.split(".");
    let place = root;
    let path = "";
    for (let depth = 0; depth < parts.length; depth++) {
      path = depth ? `${path}.${parts[depth]}` : parts[0];
      const last = depth === parts.length - 1;
      let next = last ? undefined : known.get(path);
      if (!next) {
        next = { name: parts[depth], full: path, depth, tensor: last ? number : -1, tensors: [], weights: 0, children: [], open: false, alike: 1, first: null };
        if (!last) known.set(path, next);
        place.children.push(next);
      }
      next.tensors.push(number);
      next.weights += weights;
      place = next;
    }
  });
  for (const entry of known.values()) markAlike(entry, tensors);
  markAlike(root, tensors);
  const [only] = root.children;
  if (root.children.length === 1 && only.tensor < 0) only.open = true;
  return root.children;
}

/** Say on the first of numbered modules how many are built alike: same names and shapes below. @param {Entry} parent @param {any[][]} tensors */
function markAlike(parent, tensors) {
  /** @type {Map<string, Entry>} */
  const builds = new Map();
  if (parent.children.length < 2) return;
  for (const child of parent.children) {
    if (!/^\d+$/.test(child.name) || child.tensor >= 0) continue;
    let build = "";
    for (const number of child.tensors) build += `${tensors[number][0].slice(child.full.length)} ${tensors[number][1].join()}\n`;
    const first = builds.get(build);
    if (first) {
      first.alike += 1;
      child.first = first;
    } else builds.set(build, child);
  }
}

export class Outline {
  /**
   * @param {any[][]} tensors @param {{chosen: (entry: Entry) => void, pointed: (entry: Entry | null) => void}} options
   */
  constructor(tensors, options) {
    this.tensors = tensors;
    this.lower = tensors.map(([name]) => name.toLowerCase());
    this.options = options;
    this.tree = treeOf(tensors);
    /** @type {Entry[]} */
    this.lines = [];
    /** @type {Entry[]} the tensors' entries by number */
    this.leaves = [];
    const gather = (/** @type {Entry} */ entry) => {
      if (entry.tensor >= 0) this.leaves[entry.tensor] = entry;
      else entry.children.forEach(gather);
    };
    this.tree.forEach(gather);
    this.searching = false;
    this.current = 0;
    this.search = element("input", { type: "search", class: "search", placeholder: "search: text or globs (/)", "aria-label": "search tensors, by words or by globs with *, ? and [abc]", spellcheck: "false" });
    this.found = element("div", { class: "facts found", role: "status" });
    this.room = element("div", { class: "lines" });
    this.list = element("div", { class: "outline", role: "tree", tabindex: 0, "aria-label": "modules and tensors" }, this.room);
    this.box = element("nav", { class: "side", "aria-label": "modules and tensors" }, this.search, this.found, this.list);
    this.search.addEventListener("input", () => this.filter());
    this.search.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        this.search.value = "";
        this.filter();
      } else if (event.key === "ArrowDown" || event.key === "Enter") {
        this.list.focus();
        if (event.key === "Enter") this.choose(this.lines.findIndex((entry) => entry.tensor >= 0));
        event.preventDefault();
      }
    });
    this.list.addEventListener("scroll", () => this.draw());
    this.list.addEventListener("keydown", (event) => this.pressed(event));
    this.list.addEventListener("click", (event) => this.clicked(event));
    this.list.addEventListener("pointermove", (event) => this.options.pointed(this.lines[this.lineAt(event)] ?? null));
    this.list.addEventListener("pointerleave", () => this.options.pointed(null));
    new ResizeObserver(() => this.draw()).observe(this.list);
    this.filter();
  }

  filter() {
    const text = this.search.value.trim();
    this.searching = text !== "";
    if (!text) {
      this.found.textContent = `${grouped(this.tensors.length)} tensor${this.tensors.length === 1 ? "" : "s"}`;
      this.lines = this.opened(this.tree);
    } else {
      const matches = finder(text);
      this.lines = this.leaves.filter(({ tensor }) => matches(this.lower[tensor]));
      this.found.textContent = this.lines.length ? `${grouped(this.lines.length)} of ${grouped(this.tensors.length)} tensors` : "no tensor of that name";
    }
    this.current = Math.min(this.current, Math.max(this.lines.length - 1, 0));
    this.list.scrollTop = 0;
    this.draw();
  }

  /** The lines of what is open. @param {Entry[]} entries @returns {Entry[]} */
  opened(entries) {
    return entries.flatMap((entry) => [entry, ...(entry.open ? this.opened(entry.children) : [])]);
  }

  draw() {
    const first = Math.max(Math.floor(this.list.scrollTop / ROW) - AHEAD, 0);
    const last = Math.min(Math.ceil((this.list.scrollTop + this.list.clientHeight) / ROW) + AHEAD, this.lines.length);
    this.room.style.height = `${this.lines.length * ROW}px`;
    this.room.replaceChildren(...this.lines.slice(first, last).map((entry, offset) => this.line(entry, first + offset)));
    this.list.setAttribute("aria-activedescendant", this.lines.length ? `line-${this.current}` : "");
  }

  /** @param {Entry} entry @param {number} place */
  line(entry, place) {
    const module = entry.tensor < 0;
    const depth = this.searching ? 0 : entry.depth;
    const shape = module ? "" : this.tensors[entry.tensor][1].join("×") || "scalar";
    const facts = module ? `${entry.alike > 1 ? `×${entry.alike} alike, by name · ` : ""}${shortCount(entry.weights)}` : shape;
    const made = element(
      "div",
      { class: `line${place === this.current ? " current" : ""}`, id: `line-${place}`, role: "treeitem", "aria-level": depth + 1, "aria-expanded": module ? String(entry.open) : false, "aria-selected": String(place === this.current), title: `${entry.full}${module ? `: ${grouped(entry.weights)} weights in ${grouped(entry.tensors.length)} tensors` : ` ${shape} ${this.tensors[entry.tensor][2]}`}` },
      element("span", { class: "twist", "aria-hidden": "true", text: module ? (entry.open ? "▾" : "▸") : "" }),
      element("span", { class: "name", text: this.searching ? entry.full : entry.name }),
      element("span", { class: "facts", text: facts }),
    );
    made.style.top = `${place * ROW}px`;
    made.style.paddingLeft = `${8 + 14 * depth}px`;
    return made;
  }

  /** @param {MouseEvent} event */
  lineAt(event) {
    return Math.floor((event.clientY - this.room.getBoundingClientRect().top) / ROW);
  }

  /** @param {MouseEvent} event */
  clicked(event) {
    const place = this.lineAt(event);
    const entry = this.lines[place];
    if (!entry) return;
    this.current = place;
    if (entry.tensor < 0 && event.target instanceof Element && event.target.classList.contains("twist")) this.toggle(entry, !entry.open);
    else this.choose(place);
  }

  /** @param {number} place */
  choose(place) {
    const entry = this.lines[place];
    if (!entry) return;
    this.current = place;
    if (entry.tensor < 0) this.toggle(entry, true);
    this.draw();
    this.options.chosen(entry);
  }

  /** @param {Entry} entry @param {boolean} open */
  toggle(entry, open) {
    entry.open = open;
    this.lines = this.opened(this.tree);
    this.draw();
  }

  /** @param {KeyboardEvent} event */
  pressed(event) {
    const entry = this.lines[this.current];
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: 15, PageUp: -15, Home: -1e9, End: 1e9 }[event.key];
    if (by) this.current = Math.min(Math.max(this.current + by, 0), this.lines.length - 1);
    else if (event.key === "ArrowRight" && entry?.tensor < 0) this.toggle(entry, true);
    else if (event.key === "ArrowLeft" && entry && !this.searching) {
      if (entry.open) this.toggle(entry, false);
      else {
        const parent = this.lines.findLastIndex((each, place) => place < this.current && each.depth < entry.depth);
        if (parent >= 0) this.current = parent;
      }
    } else if (event.key === "Enter" || event.key === " ") this.choose(this.current);
    else return;
    const top = this.current * ROW;
    if (top < this.list.scrollTop) this.list.scrollTop = top;
    else if (top + ROW > this.list.scrollTop + this.list.clientHeight) this.list.scrollTop = top + ROW - this.list.clientHeight;
    this.draw();
    event.preventDefault();
  }
}
