// A heatmap: values to colours, what a cell is, and which weights are in it.

/** @import { Signals } from "./colours.js" */
/** @import { Block } from "./locate.js" */
/** @import { View } from "./viewer.js" */
import { coloursOf, fade, packedMap, paintCells } from "./colours.js";
import { withContents } from "./contents.js";
import { unpacked, words } from "./decode.js";
import { element, penOf } from "./elements.js";
import { brief, exactly, grouped, percent } from "./format.js";
import { blocksOf, guessedShape, indexText, placed, spanText, unravel, weightsOf } from "./locate.js";
import { frameMarks, marginNote, marginSizes } from "./margins.js";
import { regionMarks } from "./regions.js";
import { Viewer } from "./viewer.js";

/**
 * What a panel needs of the page around it. *find* gives the number of a tensor of that name, *open* goes to it; *tensors* are what the numbers stand
 * for, *map* and *signals* the colours of a map by its name, *brush* tells heatmaps which values a histogram picks.
 * Viewers that can be zoomed are put into *viewers*; *alone* is true of the one heatmap of a page; *view* is the part that they show first.
 * @typedef {{compact: boolean, alone: boolean, brush: Brush | null, viewers: Viewer[], view: View | null, find(name: string): number | undefined, open(tensor: number): void,
 *   tensors: {name: string, shape?: number[], dtype?: string, taken?: (number | number[])[]}[],
 *   map(name: string): Uint8Array, signals(name: string): Signals}} Context
 * @typedef {{add(listener: (chosen: ((value: number) => boolean) | null) => void): void, watched(): boolean, pick(chosen: ((value: number) => boolean) | null): void}} Brush
 */

/** The elements of a heatmap. @param {any} panel @param {Context} context @returns {Promise<HTMLElement[]>} */
export async function heatmapPanel(panel, context) {
  const [rows, columns] = panel.shape;
  const values = await words(panel.values, Float32Array);
  const counts = typeof panel.counts === "number" ? null : await words(panel.counts, Int32Array);
  const owners = panel.owners ? await words(panel.owners, Int32Array) : null; // of each cell, the number of its region
  const countAt = (/** @type {number} */ index) => (counts ? counts[index] : panel.counts);
  const source = element("canvas");
  source.width = columns;
  source.height = rows;
  const pixels = penOf(source);
  const image = pixels.createImageData(Math.max(columns, 1), Math.max(rows, 1));
  const signals = context.signals(panel.map);
  const colours = coloursOf(panel, packedMap(context.map(panel.map)), signals);
  const some = Uint8Array.from(values, (_, index) => (countAt(index) > 0 ? 1 : 0));
  const cells = new Uint32Array(image.data.buffer);

  function colour(/** @type {((value: number) => boolean) | null} */ chosen) {
    paintCells(cells, values, some, colours);
    if (chosen) fade(cells, values, some, chosen);
    pixels.putImageData(image, 0, 0);
  }
  colour(null);

  const blocks = panel.layout ? blocksOf(panel.layout) : null;
  const show = panel.exact ? exactly : (/** @type {number} */ value) => brief(value, 4);

  /** @param {number} row @param {number} column @returns {string} */
  function regionAt(row, column) {
    if (owners) return panel.regions[owners[row * columns + column]]?.[0] ?? "";
    for (const [name, rects] of panel.regions) {
      for (const [top, left, high, wide] of rects) {
        if (row >= top && row < top + high && column >= left && column < left + wide) return name;
      }
    }
    return "";
  }

  const nameAt = (/** @type {[number, string][] | undefined} */ names, /** @type {number} */ place) => names?.find(([at]) => Math.floor(at) === place)?.[1] ?? "";

  /** @param {number} row @param {number} column @returns {string[]} */
  function whereLines(row, column) {
    if (panel.column_names) return [nameAt(panel.row_names, row), `${panel.columns} ${nameAt(panel.column_names, column)}`.trim()];
    const region = regionAt(row, column);
    const all = blocks ? weightsOf(blocks, panel.cell, row, column) : [];
    const own = all.filter((weights) => context.tensors[weights.tensor].name === region); // a cell of reduced resolution shows one tensor of several
    const found = own.length ? own : all;
    if (found.length) {
      const lines = found.slice(0, 3).map((weights) => {
        const tensor = context.tensors[weights.tensor];
        return [tensor.name, indexText(weights, tensor.shape ?? (blocks && guessedShape(blocks, weights.tensor)), tensor.taken)];
      });
      const first = lines[0][0];
      const part = region && !context.tensors.some((tensor) => tensor.name === region) ? region : "";
      return [first, part, ...lines.map(([name, text]) => (name === first ? text : `${name} ${text}`))];
    }
    const owner = panel.tensor >= 0 ? context.tensors[panel.tensor].name : "";
    return [region || owner || "the grid", `row ${spanText(row, panel.cell[0])}, column ${spanText(column, panel.cell[1])}`];
  }

  /** @param {number} row @param {number} column @returns {string[]} */
  function tell(row, column) {
    const index = row * columns + column;
    const count = countAt(index);
    if (!count) return panel.column_names ? [...whereLines(row, column), "no figure"] : ["no weight here"];
    const value = values[index];
    const what = count === 1 ? panel.quantity : `${panel.reduce} of ${grouped(count)} ${panel.quantity.replace(/^[a-z]+/, "$&s")}`;
    const beyond = value > panel.high ? ", above the limit" : value < panel.low ? ", below the limit" : "";
    const sides = [["row", row], ["column", column]].map(([side, place]) => {
      const marginal = panel[`${side}_marginal`];
      return marginal ? `${marginal.label} of the ${side}${panel.cell[side === "row" ? 0 : 1] > 1 ? "s" : ""}: ${brief(marginal.values[place], 4)}` : "";
    });
    return [...whereLines(row, column), `${what}: ${show(value)}${beyond}`, ...sides];
  }

  const readout = element("div", { class: "readout", "aria-live": "polite" });
  const viewer = new Viewer(source, {
    compact: context.compact,
    name: panel.title,
    rows: context.compact ? "" : panel.rows,
    columns: context.compact ? "" : panel.columns,
    rowRuns: panel.row_runs,
    columnRuns: panel.column_runs,
    named: Boolean(panel.row_names),
    columnNames: context.compact ? undefined : panel.column_names,
    cell: panel.cell,
    height: context.compact ? 170 : Math.max(320, innerHeight * 0.78),
    view: context.view,
    margins: context.compact ? {} : marginSizes(panel),
    frame: context.compact ? null : (...view) => frameMarks(panel, signals.lost, ...view),
    tell,
    read: (row, column) => {
      readout.textContent = tell(row, column).filter(Boolean).join(" · ");
    },
    decorate: panel.marks.length || panel.heads.length || (panel.regions.length && (panel.boundaries || panel.labels)) ? regionMarks(panel, owners, context.compact, { at: (index) => countAt(index) > 0 && !Number.isFinite(values[index]), colour: `rgb(${signals.lost.join(",")})` }) : null,
  });
  if (!context.compact) context.viewers.push(viewer);
  context.brush?.add((chosen) => {
    colour(chosen);
    viewer.draw();
  });
  const listed = context.alone && panel.regions.length > 1 && !panel.row_names && !panel.row_marginal && !panel.column_marginal;
  /** @type {Map<string, string>} */
  const sizes = new Map();
  const counted = new Map();
  for (const { tensor, size } of blocks ?? []) counted.set(tensor, (counted.get(tensor) ?? 0) + size);
  for (const [tensor, count] of counted) sizes.set(context.tensors[tensor].name, `${grouped(count)} weight${count === 1 ? "" : "s"}`);
  for (const { name, shape } of context.tensors) if (shape) sizes.set(name, shape.join("×") || "scalar");
  const about = (/** @type {string} */ name) => sizes.get(name) ?? "";
  const below = legend(panel, values, counts, context, blocks);
  const map = listed ? [withContents(panel, owners, viewer, below, about)] : [viewer.box, below];
  const parts = rows && columns ? map : [element("div", { text: "no cells" })];
  if (!context.compact) {
    parts.unshift(viewer.tools());
    parts.push(readout, ...panel.notes.map((/** @type {string} */ text) => element("div", { text })));
  }
  return parts;
}

/** @param {any} panel @param {Float32Array} values @param {Int32Array | null} counts @param {Context} context @param {Block[] | null} blocks */
function legend(panel, values, counts, context, blocks) {
  const bar = element("canvas", { width: 256, height: 1, role: "img", "aria-label": `colours from ${brief(panel.low)} to ${brief(panel.high)}` });
  const context2d = penOf(bar);
  const strip = context2d.createImageData(256, 1);
  const map = context.map(panel.map);
  for (let i = 0; i < 256; i++) strip.data.set([map[3 * i], map[3 * i + 1], map[3 * i + 2], 255], 4 * i);
  context2d.putImageData(strip, 0, 0);
  const scale = element("span", { class: "scale" }, brief(panel.low), bar, brief(panel.high) + (panel.bend ? " (asinh)" : ""));
  const what = panel.label || panel.what;
  const parts = [scale];
  const swatch = (/** @type {number[]} */ rgb, /** @type {string} */ text) => {
    const box = element("i", { class: "swatch" });
    box.style.background = `rgb(${rgb.join(",")})`;
    parts.push(element("span", {}, box, text));
  };
  const { over, under, lost, empty } = context.signals(panel.map);
  if (panel.over) swatch(over, `${percent(panel.over)} above`);
  if (panel.under) swatch(under, `${percent(panel.under)} below`);
  let missing = 0;
  for (let i = 0; i < values.length; i++) if ((counts ? counts[i] : panel.counts) > 0 && !Number.isFinite(values[i])) missing++;
  if (missing) swatch(lost, `${grouped(missing)} NaN or Inf`);
  if (counts ? counts.some((count) => count === 0) : panel.counts === 0) swatch(empty, panel.column_names ? "no figure" : "no weight");
  parts.push(element("span", { text: what }));
  if (!context.compact || panel.lowered) {
    const [rows, columns] = panel.shape;
    const before = panel.lowered ? `, reduced from ${panel.lowered.map(grouped).join(" × ")}` : "";
    parts.push(element("span", { text: `${grouped(rows)} × ${grouped(columns)} cells${before}` }));
  }
  if (!context.compact && !panel.exact) parts.push(element("span", { text: "values to four digits" }));
  if (!context.compact && marginNote(panel)) parts.push(element("span", { text: marginNote(panel) }));
  if (!context.compact && panel.largest) {
    const { tensor, index, value } = panel.largest;
    const { name, shape = blocks && guessedShape(blocks, tensor), taken } = context.tensors[tensor];
    const place = shape?.length ? `[${placed(unravel(index, shape), taken).join(", ")}]` : `flat index ${grouped(index)}`;
    parts.push(element("span", { text: `largest |${panel.quantity}|: ${brief(value, 5)} at ${tensor === panel.tensor ? "" : `${name} `}${place}` }));
  }
  return element("div", { class: "legend" }, ...parts);
}

/** The elements of an image. @param {any} panel @param {Context} context @returns {Promise<HTMLElement[]>} */
export async function imagePanel(panel, context) {
  const [rows, columns] = panel.shape;
  const bytes = await unpacked(panel.rgb);
  const source = element("canvas");
  source.width = columns;
  source.height = rows;
  if (!rows || !columns) return [element("div", { text: "no pixels" })];
  const pixels = penOf(source);
  const image = pixels.createImageData(columns, rows);
  for (let i = 0; i < rows * columns; i++) image.data.set([bytes[3 * i], bytes[3 * i + 1], bytes[3 * i + 2], 255], 4 * i);
  pixels.putImageData(image, 0, 0);
  const viewer = new Viewer(source, {
    compact: context.compact,
    name: panel.title || "image",
    rows: "",
    columns: "",
    cell: [1, 1],
    height: context.compact ? 170 : Math.max(320, innerHeight * 0.78),
    view: context.view,
    tell: (row, column) => {
      const at = 3 * (row * columns + column);
      return [`pixel ${row}, ${column}`, `red ${bytes[at]}, green ${bytes[at + 1]}, blue ${bytes[at + 2]}`];
    },
  });
  if (!context.compact) context.viewers.push(viewer);
  const caption = panel.caption ? element("div", { class: "legend", text: panel.caption }) : null;
  return [...(context.compact ? [] : [viewer.tools()]), viewer.box, ...(caption ? [caption] : [])];
}
