// The page: an index of overviews and tensors at the left, what is chosen at the right; the address remembers it.

/** @import { Context } from "./heatmap.js" */
/** @import { View, Viewer } from "./viewer.js" */
import { bytesOf } from "./decode.js";
import { block, head } from "./document.js";
import { breakable, element } from "./elements.js";
import { grouped } from "./format.js";
import { heatmapPanel, imagePanel } from "./heatmap.js";
import { histogramPanel } from "./histogram.js";
import { keysOf, linePanel, scatterPanel } from "./planes.js";
import { barPanel, quantilesPanel, ridgesPanel, textPanel } from "./plots.js";
import { roving } from "./roving.js";
import { finder } from "./search.js";
import { tablePanel } from "./table.js";
import { hideTip, tipBox } from "./tip.js";
import { lock } from "./viewer.js";

/** @type {Record<string, (panel: any, context: Context) => HTMLElement[] | Promise<HTMLElement[]>>} */
const PANELS = {
  heatmap: heatmapPanel,
  image: imagePanel,
  histogram: histogramPanel,
  line: linePanel,
  scatter: scatterPanel,
  bar: barPanel,
  quantiles: quantilesPanel,
  ridges: ridgesPanel,
  table: tablePanel,
  text: textPanel,
};
const COMPACT_FROM = 7;

/**
 * A page of the report: as its head lists it, and as its own block holds it.
 * @typedef {{title: string, name: string, folder: string, tensor: number, frame?: [number, number]}} Listed
 * @typedef {{title: string, tensor: number, panels: any[], columns: number, wide: number, frame?: [number, number], names?: string[],
 *   places?: [number, number][], row_names: string[], column_names: string[], column_notes: string[]}} PageData
 * What the panels of a view share.
 * @typedef {{brush: Brush, viewers: Viewer[], view: View | null}} Scene
 */

/** @type {(Listed & {index: number})[]} */
const overviews = head.pages.map((/** @type {Listed} */ page, /** @type {number} */ index) => ({ ...page, index })).filter((/** @type {Listed} */ page) => page.tensor < 0);
/** @type {Map<number, number[]>} */
const byTensor = new Map();
head.pages.forEach((/** @type {Listed} */ page, /** @type {number} */ index) => {
  if (page.tensor >= 0) byTensor.set(page.tensor, [...(byTensor.get(page.tensor) ?? []), index]);
});
const names = new Map();
for (const tensor of byTensor.keys()) if (!names.has(head.tensors[tensor].name)) names.set(head.tensors[tensor].name, tensor);

/** @type {Map<string, Uint8Array>} */
const maps = new Map();
/** @param {string} name */
function colorMap(name) {
  const map = maps.get(name) ?? bytesOf(head.maps[name]);
  maps.set(name, map);
  return map;
}

/** @typedef {((value: number) => boolean) | null} Chosen */

// Histograms pick, heatmaps of the same view listen.
class Brush {
  constructor() {
    /** @type {((chosen: Chosen) => void)[]} */
    this.listeners = [];
    this.waiting = 0;
  }

  /** @param {(chosen: Chosen) => void} listener */
  add(listener) {
    this.listeners.push(listener);
  }

  watched() {
    return this.listeners.length > 0;
  }

  /** @param {Chosen} chosen */
  pick(chosen) {
    cancelAnimationFrame(this.waiting);
    this.waiting = requestAnimationFrame(() => this.listeners.forEach((listener) => listener(chosen)));
  }
}

/** @param {any} panel @param {PageData} page @param {Scene} scene @param {boolean} compact @param {boolean} wide */
async function panelElement(panel, page, scene, compact, wide) {
  /** @type {Context} */
  const context = {
    compact,
    alone: !compact && page.panels.filter(({ kind }) => kind === "heatmap").length === 1,
    brush: compact ? null : scene.brush,
    viewers: scene.viewers,
    view: compact ? null : scene.view,
    find: (name) => names.get(name),
    open: (tensor) => choose(`t${tensor}`),
    tensors: head.tensors,
    map: colorMap,
    signals: (name) => head.signals[name],
  };
  const figure = element("section", { class: wide ? "panel wide" : "panel" });
  if (panel.title && panel.title !== page.title) {
    const tensor = context.find(panel.title);
    const name = element("bdi", { text: panel.title }); // of sheets, the end is what is shown
    const title = tensor === undefined || page.tensor === tensor
      ? name
      : element("button", { type: "button", class: "link", onclick: () => context.open(tensor) }, name);
    figure.append(element("h2", { title: panel.title }, title));
  }
  figure.append(...(await PANELS[panel.kind]({ ...panel, tensor: page.tensor }, context)));
  return figure;
}

/**
 * The columns of the first table of *rows*: up to a row that shares none with those above it, or has none.
 * @param {number[][]} rows
 */
function columnsFrom(rows) {
  /** @type {Set<number>} */
  const found = new Set();
  for (const own of rows) {
    if (found.size && !own.some((column) => found.has(column))) break;
    for (const column of own) found.add(column);
  }
  return [...found].sort((one, other) => one - other);
}

/**
 * Panels at their places: rows with a name as a table, small, below the names of columns; other rows as panels with titles.
 * @param {PageData} page @param {[number, number][]} places @param {Scene} scene
 */
async function sheetElements(page, places, scene) {
  /** @type {Map<number, [number, any][]>} */
  const rows = new Map();
  for (const [index, [row, column]] of places.entries()) {
    rows.set(row, [...(rows.get(row) ?? []), [column, page.panels[index]]]);
  }
  const parts = [];
  let sheet = null;
  let loose = null;
  /** @type {number[]} */
  let columns = [];
  const sorted = [...rows].sort(([one], [other]) => one - other);
  for (const [place, [row, unsorted]] of sorted.entries()) {
    const cells = unsorted.sort(([one], [other]) => one - other);
    const name = page.row_names[row];
    if (!name) {
      sheet = null;
      loose ??= parts[parts.push(element("div", { class: "panels many" })) - 1];
      for (const [, panel] of cells) loose.append(await panelElement(panel, page, scene, true, false));
      continue;
    }
    loose = null;
    // Rows that share no column with those above them are a table of their own.
    if (!sheet || !cells.some(([column]) => columns.includes(column))) {
      columns = columnsFrom(sorted.slice(place).map(([at, own]) => (page.row_names[at] ? own.map(([column]) => column) : [])));
      sheet = element("div", { class: "sheet", tabindex: "0", role: "group", "aria-label": page.title });
      sheet.style.gridTemplateColumns = `max-content repeat(${columns.length}, minmax(var(--cell), 1fr))`;
      sheet.append(element("div", { class: "corner" }));
      for (const column of columns) {
        const note = page.column_notes[column] ?? "";
        sheet.append(element("div", { class: "column-name" }, (page.column_names[column] ?? "").replaceAll(".", ".\u200b"), element("small", { text: note })));
      }
      parts.push(sheet);
    }
    sheet.append(element("div", { class: "row-name", text: name }));
    const at = new Map(cells);
    for (const column of columns) {
      sheet.append(at.has(column) ? await panelElement(at.get(column), page, scene, true, false) : element("div"));
    }
  }
  return parts;
}

/** @param {number} index @param {Scene} scene */
async function pageElement(index, scene) {
  /** @type {PageData} */
  const page = block(`page-${index}`);
  const rest = page.panels.length - page.wide;
  const compact = page.columns >= 4 && rest >= COMPACT_FROM;
  const tables = page.places ? await sheetElements(page, page.places, scene) : [];
  const grid = element("div", { class: `panels ${compact ? "many" : page.columns > 1 && rest > 1 ? "two" : ""}` });
  for (const [place, panel] of page.places ? [] : page.panels.entries()) {
    const wide = place < page.wide;
    grid.append(await panelElement(panel, page, scene, compact && !wide, wide));
  }
  const folder = head.pages[index].folder.replaceAll("_", " ");
  const kind = folder ? element("span", { class: "kind", text: folder }) : "";
  const [title, ...facts] = page.title.split(" · ");
  /** @type {HTMLElement[]} */
  const parts = [element("h1", {}, title, kind)];
  if (facts.length) parts.push(element("p", { class: "subtitle", text: facts.join(" · ") }));
  if (page.frame) {
    const done = element("i");
    done.style.width = `${(100 * page.frame[0]) / page.frame[1]}%`;
    parts.push(element("div", { class: "progress", title: `${page.frame[0]} of ${page.frame[1]}` }, done));
  }
  if (page.names) {
    const keys = keysOf(page.names);
    keys.classList.add("keys");
    parts.push(keys);
  }
  return element("article", { class: "page" }, ...parts, ...(page.places ? tables : [grid]));
}

const main = element("main", { class: "main", tabindex: -1 });
const foot = element("footer", { class: "foot" }, element("a", { href: head.reading, target: "_blank", rel: "noopener noreferrer", text: "What each picture shows" }));
/** @type {Map<string, HTMLElement>} */
const items = new Map(); // the entry of each page and tensor; those of a series have one
let shownNow = "";
/** @type {Viewer[]} */
let viewers = [];

/** Pages that are pictures of one thing over time: a slider goes through them. */
class Series {
  /** @param {any[]} pages */
  constructor(pages) {
    this.pages = pages;
    this.keys = pages.map((page) => `p${page.index}`);
    this.at = 0;
    this.timer = 0;
    this.slider = element("input", { type: "range", min: 1, max: pages.length, step: 1, value: 1, "aria-label": "place in the series" });
    this.button = element("button", { type: "button", class: "play", onclick: () => (this.timer ? this.stop() : this.play()) });
    this.told = element("output", { class: "facts" });
    this.controls = element("div", { class: "tools series-tools" }, this.button, this.slider, this.told);
    this.slider.addEventListener("input", () => {
      this.stop();
      this.go(Number(this.slider.value) - 1);
    });
    this.stop();
  }

  name() {
    return this.pages[0].name.replace(/[\W_]*\d+$/, "").replaceAll("_", " ");
  }

  /** @param {number} place */
  go(place) {
    const key = this.keys[place];
    try {
      history.replaceState(null, "", `#${key}`); // a step is no page to go back to
    } catch {
      // a page in a frame may not; what is shown is the same
    }
    return show(key);
  }

  /** @param {string} key */
  shown(key) {
    this.at = this.keys.indexOf(key);
    const text = this.pages[this.at].title.split(" · ").slice(1).join(" · ");
    const place = `${this.at + 1} of ${this.pages.length}`;
    this.slider.value = String(this.at + 1);
    this.told.textContent = text ? `${text} · ${place}` : place;
    this.slider.setAttribute("aria-valuetext", this.told.textContent);
  }

  play() {
    this.button.textContent = "pause";
    const next = async (/** @type {number} */ place) => {
      const begun = performance.now();
      await this.go(place);
      if (!this.timer) return;
      if (place + 1 === this.pages.length) return this.stop();
      this.timer = setTimeout(next, Math.max(STEP - (performance.now() - begun), 0), place + 1);
    };
    const last = this.at + 1 === this.pages.length;
    this.timer = setTimeout(next, last ? 0 : STEP, last ? 0 : this.at + 1);
  }

  stop() {
    clearTimeout(this.timer);
    this.timer = 0;
    this.button.textContent = "play";
  }
}

const STEP = 500; // milliseconds that a picture of a series stays, at least

/** @type {Map<string, Series>} */
const seriesOf = new Map();

/** @param {string} key */
async function show(key) {
  if (!items.has(key)) key = start;
  if (key === shownNow) return;
  const series = seriesOf.get(key);
  const before = seriesOf.get(shownNow);
  const same = series !== undefined && before === series;
  if (before && !same) before.stop();
  shownNow = key;
  hideTip();
  if (!same) mark(key);
  const pages = key.startsWith("t") ? (byTensor.get(Number(key.slice(1))) ?? []) : [Number(key.slice(1))];
  /** @type {Scene} */
  const scene = { brush: new Brush(), viewers: [], view: same && viewers.length ? viewers[0].view() : null };
  // Heatmaps first, so that histograms know whether anything listens.
  const order = [...pages].sort((a, b) => listens(b) - listens(a));
  /** @type {HTMLElement[]} */
  const made = [];
  for (const index of order) made.push(await pageElement(index, scene));
  if (shownNow !== key) return;
  viewers = scene.viewers;
  lock(viewers);
  series?.shown(key);
  document.body.dataset.shown = key;
  const article = main.querySelector("article");
  if (same && article) return article.replaceWith(...made); // the slider keeps the focus, the page its place
  main.replaceChildren(...(head.note ? [element("p", { class: "note", text: head.note })] : []), ...(series ? [series.controls] : []), ...made, foot);
  scrollTo(0, 0);
}

/** Mark the entry of what is shown. @param {string} key */
function mark(key) {
  const shown = items.get(key);
  list.querySelector("[aria-current=true]")?.setAttribute("aria-current", "false");
  shown?.setAttribute("aria-current", "true");
  shown?.scrollIntoView?.({ block: "nearest" });
  stopAt(shown);
}

const listens = (/** @type {number} */ index) => (block(`page-${index}`).panels.some((/** @type {any} */ panel) => panel.kind === "heatmap") ? 1 : 0);

/** @param {string} key */
function choose(key) {
  if (location.hash === `#${key}`) show(key);
  else location.hash = key;
}

/** @param {string[]} keys @param {string} name @param {string} facts */
function entry(keys, name, facts, chosen = () => keys[0]) {
  const made = element(
    "button",
    { type: "button", class: "item", title: name, tabindex: -1, "aria-current": "false", onclick: () => choose(chosen()) },
    element("span", { class: "name" }, ...breakable(name)),
    facts ? element("span", { class: "facts", text: facts }) : null,
  );
  for (const key of keys) items.set(key, made);
  return { made, name, facts };
}

// Overviews, those of a series as one.
function overviewEntries() {
  /** @type {{stem: string | null, pages: any[]}[]} */
  const groups = [];
  for (const page of overviews) {
    const stem = page.frame ? `${page.name.replace(/\d+$/, "")} ${page.frame[1]}` : null;
    const last = groups.at(-1);
    if (last && stem !== null && last.stem === stem) last.pages.push(page);
    else groups.push({ stem, pages: [page] });
  }
  return groups.map(({ pages }) => {
    const [page] = pages;
    if (pages.length === 1) return entry([`p${page.index}`], page.name.replaceAll("_", " "), page.title);
    const series = new Series(pages);
    for (const key of series.keys) seriesOf.set(key, series);
    return entry(series.keys, series.name(), `${page.title.split(" · ")[0]} · ${pages.length} steps`, () => series.keys[series.at]);
  });
}

function indexOfAll() {
  const nav = element("nav", { class: "index", "aria-label": "pages and tensors" });
  const tensors = [...byTensor.keys()];
  const groups = [
    { heading: element("h2", { text: "Overview" }), entries: overviewEntries(), beside: true },
    {
      heading: element("h2", { text: `${grouped(tensors.length)} tensor${tensors.length === 1 ? "" : "s"}` }),
      entries: tensors.map((tensor) => {
        const { name, shape, dtype } = head.tensors[tensor];
        return entry([`t${tensor}`], name, shape ? `${shape.join("×") || "scalar"} · ${dtype}` : "");
      }),
      beside: false,
    },
  ].filter(({ entries }) => entries.length);
  const none = element("div", { class: "none", role: "status", text: "nothing of that name", hidden: true });
  for (const { heading, entries } of groups) nav.append(heading, ...entries.map(({ made }) => made));
  nav.append(none);
  const move = roving(nav, ".item");
  if (!tensors.length) return { nav, move };
  const field = element("input", { class: "search", type: "search", placeholder: "search tensors ( / )", "aria-label": "search tensors", title: "words that the name holds, or patterns such as *.weight; the / key comes here" });
  field.addEventListener("input", () => {
    const found = finder(field.value);
    let total = 0;
    for (const { heading, entries, beside } of groups) {
      let count = 0;
      for (const { made, name, facts } of entries) {
        const fits = found(name, beside ? facts : "");
        if (made.hidden === fits) made.hidden = !fits;
        count += fits ? 1 : 0;
      }
      heading.hidden = count === 0;
      total += count;
    }
    none.hidden = total > 0;
    move();
  });
  field.addEventListener("keydown", (event) => {
    const seen = [...groups].reverse().flatMap(({ entries }) => entries).filter(({ made }) => !made.hidden); // a tensor before an overview
    if (event.key === "Enter") seen[0]?.made.click();
    else if (event.key === "ArrowDown") /** @type {HTMLElement | null} */ (nav.querySelector(".item:not([hidden])"))?.focus();
    else return;
    event.preventDefault();
  });
  addEventListener("keydown", (event) => {
    const typing = event.target instanceof HTMLElement && event.target.matches("input, textarea, select");
    if (event.key !== "/" || typing || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    field.focus();
    field.select();
  });
  return { nav, move, field };
}

const { nav: list, move: stopAt, field: search } = indexOfAll();
const single = new Set(items.values()).size === 1;
const start = items.has(`p${head.first}`) ? `p${head.first}` : [...items.keys()][0];
const side = element(
  "aside",
  { class: "side", hidden: single },
  element("header", {}, element("div", { class: "brand", text: "torch2grid" }), element("div", { class: "facts", text: head.title }), search ?? null),
  list,
);
const skip = element("button", { type: "button", class: "skip", hidden: single, text: "skip to what is shown", onclick: () => main.focus() });
document.body.append(skip, element("div", { class: single ? "shell single" : "shell" }, side, main), tipBox());
addEventListener("hashchange", () => show(location.hash.slice(1)));
addEventListener("scroll", hideTip, { passive: true });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  const again = shownNow;
  shownNow = "";
  show(again);
});
show(location.hash.slice(1));
