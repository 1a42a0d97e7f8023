// The page: an index of overviews and tensors at the left, what is chosen at the right; the address remembers it.

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

const overviews = head.pages.map((page, index) => ({ ...page, index })).filter((page) => page.tensor < 0);
const byTensor = new Map();
head.pages.forEach((page, index) => {
  if (page.tensor >= 0) byTensor.set(page.tensor, [...(byTensor.get(page.tensor) ?? []), index]);
});
const names = new Map();
for (const tensor of byTensor.keys()) if (!names.has(head.tensors[tensor].name)) names.set(head.tensors[tensor].name, tensor);

// Histograms pick, heatmaps of the same view listen.
class Brush {
  constructor() {
    this.listeners = [];
    this.waiting = 0;
  }

  add(listener) {
    this.listeners.push(listener);
  }

  watched() {
    return this.listeners.length > 0;
  }

  pick(chosen) {
    cancelAnimationFrame(this.waiting);
    this.waiting = requestAnimationFrame(() => this.listeners.forEach((listener) => listener(chosen)));
  }
}

async function panelElement(panel, page, brush, compact, wide) {
  const context = {
    compact,
    brush: compact ? null : brush,
    find: (name) => names.get(name),
    open: (tensor) => choose(`t${tensor}`),
  };
  const figure = element("section", { class: wide ? "panel wide" : "panel" });
  if (panel.title && panel.title !== page.title) {
    const tensor = context.find(panel.title);
    const title = tensor === undefined || page.tensor === tensor
      ? panel.title
      : element("button", { type: "button", class: "link", text: panel.title, onclick: () => context.open(tensor) });
    figure.append(element("h2", { title: panel.title }, title));
  }
  figure.append(...(await PANELS[panel.kind]({ ...panel, tensor: page.tensor }, context)));
  return figure;
}

// Panels at their places: rows with a name as a table, small, below the names of columns; other rows as panels with titles.
async function sheetElements(page, brush) {
  const rows = new Map();
  for (const [index, [row, column]] of page.places.entries()) {
    if (!rows.has(row)) rows.set(row, []);
    rows.get(row).push([column, page.panels[index]]);
  }
  const across = Math.max(page.column_names.length, ...page.places.map(([row, column]) => (page.row_names[row] ? column + 1 : 0)));
  const parts = [];
  let sheet = null;
  let loose = null;
  for (const row of [...rows.keys()].sort((one, other) => one - other)) {
    const cells = rows.get(row).sort(([one], [other]) => one - other);
    const name = page.row_names[row];
    if (!name) {
      sheet = null;
      loose ??= parts[parts.push(element("div", { class: "panels many" })) - 1];
      for (const [, panel] of cells) loose.append(await panelElement(panel, page, brush, true, false));
      continue;
    }
    loose = null;
    if (!sheet) {
      sheet = element("div", { class: "sheet", tabindex: "0", role: "group", "aria-label": page.title });
      sheet.style.gridTemplateColumns = `max-content repeat(${across}, minmax(var(--cell), 1fr))`;
      sheet.append(element("div", { class: "corner" }));
      for (let column = 0; column < across; column++) {
        const note = page.column_notes[column] ?? "";
        sheet.append(element("div", { class: "column-name" }, (page.column_names[column] ?? "").replaceAll(".", ".\u200b"), element("small", { text: note })));
      }
      parts.push(sheet);
    }
    sheet.append(element("div", { class: "row-name", text: name }));
    const at = new Map(cells);
    for (let column = 0; column < across; column++) {
      sheet.append(at.has(column) ? await panelElement(at.get(column), page, brush, true, false) : element("div"));
    }
  }
  return parts;
}

async function pageElement(index, brush) {
  const page = block(`page-${index}`);
  const rest = page.panels.length - page.wide;
  const compact = page.columns >= 4 && rest >= COMPACT_FROM;
  const tables = page.places ? await sheetElements(page, brush) : [];
  const grid = element("div", { class: `panels ${compact ? "many" : page.columns > 1 && rest > 1 ? "two" : ""}` });
  for (const [place, panel] of page.places ? [] : page.panels.entries()) {
    const wide = place < page.wide;
    grid.append(await panelElement(panel, page, brush, compact && !wide, wide));
  }
  const folder = head.pages[index].folder.replaceAll("_", " ");
  const kind = folder ? element("span", { class: "kind", text: folder }) : "";
  const [title, ...facts] = page.title.split(" · ");
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

const main = element("main", { class: "main" });
const items = new Map();
let shownNow = "";

async function show(key) {
  if (!items.has(key)) key = start;
  if (key === shownNow) return;
  shownNow = key;
  hideTip();
  for (const [name, item] of items) {
    item.setAttribute("aria-current", String(name === key));
    if (name === key) item.scrollIntoView?.({ block: "nearest" });
  }
  const pages = key.startsWith("t") ? byTensor.get(Number(key.slice(1))) : [Number(key.slice(1))];
  const brush = new Brush();
  // Heatmaps first, so that histograms know whether anything listens.
  const order = [...pages].sort((a, b) => listens(b) - listens(a));
  const made = [];
  for (const index of order) made.push(await pageElement(index, brush));
  if (shownNow !== key) return;
  main.replaceChildren(...(head.note ? [element("p", { class: "note", text: head.note })] : []), ...made);
  document.body.dataset.shown = key;
  scrollTo(0, 0);
}

const listens = (index) => (block(`page-${index}`).panels.some((panel) => panel.kind === "heatmap") ? 1 : 0);

function choose(key) {
  if (location.hash === `#${key}`) show(key);
  else location.hash = key;
}

function item(key, name, facts) {
  const made = element(
    "button",
    { type: "button", class: "item", title: name, onclick: () => choose(key) },
    element("span", { class: "name", text: name }),
    facts ? element("span", { class: "facts", text: facts }) : null,
  );
  items.set(key, made);
  return made;
}

function index() {
  const list = element("nav", { class: "index", "aria-label": "pages and tensors" });
  if (overviews.length) {
    list.append(element("h2", { text: "Overview" }), ...overviews.map((page) => item(`p${page.index}`, page.name.replaceAll("_", " "), page.title)));
  }
  const tensors = [...byTensor.keys()];
  if (!tensors.length) return { list };
  const none = element("div", { class: "none", text: "no tensor of that name", hidden: true });
  const entries = tensors.map((tensor) => {
    const { name, shape, dtype } = head.tensors[tensor];
    return [name.toLowerCase(), item(`t${tensor}`, name, shape ? `${shape.join("×") || "scalar"} · ${dtype}` : "")];
  });
  list.append(element("h2", { text: `${grouped(tensors.length)} tensor${tensors.length === 1 ? "" : "s"}` }), ...entries.map(([, made]) => made), none);
  const search = element("input", { class: "search", type: "search", placeholder: "search tensors", "aria-label": "search tensors" });
  search.addEventListener("input", () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const [name, made] of entries) {
      made.hidden = !words.every((word) => name.includes(word));
      count += made.hidden ? 0 : 1;
    }
    none.hidden = count > 0;
  });
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter") entries.find(([, made]) => !made.hidden)?.[1].click();
  });
  list.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    const visible = [...items.values()].filter((made) => !made.hidden);
    const place = visible.indexOf(document.activeElement) + (event.key === "ArrowDown" ? 1 : -1);
    visible[clamp(place, 0, visible.length - 1)].focus();
    event.preventDefault();
  });
  return { list, search };
}

const { list, search } = index();
const single = items.size === 1;
const start = items.has(`p${head.first}`) ? `p${head.first}` : items.keys().next().value;
const side = element(
  "aside",
  { class: "side", hidden: single },
  element("header", {}, element("div", { class: "brand", text: "torch2grid" }), element("div", { class: "facts", text: head.title }), search ?? null),
  list,
);
document.body.append(element("div", { class: single ? "shell single" : "shell" }, side, main), tip);
addEventListener("hashchange", () => show(location.hash.slice(1)));
addEventListener("scroll", hideTip, { passive: true });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  const again = shownNow;
  shownNow = "";
  show(again);
});
show(location.hash.slice(1));
