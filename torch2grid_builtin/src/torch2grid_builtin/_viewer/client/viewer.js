// A grid of pixels that can be zoomed, dragged and read. Cells are whole device pixels from 1:1 on: nothing is resampled.

import { color, element, penOf } from "./elements.js";
import { brief, clamp, grouped } from "./format.js";
import { handle } from "./gestures.js";
import { indexTicks } from "./locate.js";
import { columnRoom, nameColumns } from "./margins.js";
import { hideTip, showTip } from "./tip.js";

/**
 * @typedef {{row: number, column: number}} Place a cell
 * @typedef {[number, number, number, number][]} Runs see indexTicks
 * @typedef {{x: number, y: number, width: number, height: number}} Frame of the plot, in device pixels
 * compact: a small one that is only hovered. rows and columns: names of the axes, or "". cell: rows and columns of weights in a cell. height: the most,
 * in CSS pixels. view: what is in view first, else all. tell: the lines of a cell's tooltip. read: told which cell the keyboard is at. decorate: draws over the cells, frame around them.
 * @typedef {{compact?: boolean, name?: string, rows: string, columns: string, rowRuns?: Runs, columnRuns?: Runs,
 *   named?: boolean, columnNames?: [number, string][], cell: [number, number], height: number, margins?: {above?: number, beside?: number, names?: number},
 *   tell(row: number, column: number): string[] | null, read?(row: number, column: number): void,
 *   decorate?: ((context: CanvasRenderingContext2D, viewer: Viewer, first: Place, last: Place) => void) | null,
 *   frame?: ((context: CanvasRenderingContext2D, viewer: Viewer, frame: Frame, first: Place, last: Place) => void) | null,
 *   changed?(viewer: Viewer): void, view?: View | null}} Options
 * A part in view: a scale of 0 is all that there is room for; row and column are of its upper left corner, in cells.
 * @typedef {{scale: number, row: number, column: number, cursor: Place | null}} View
 */

const LARGEST_CELL = 96;
const LARGE_CELL = 12; // at which a strip is shown
const SLENDER = 12;
const ENOUGH = 8;

/** A canvas that shows another one, a pixel of which is a cell. */
export class Viewer {
  /** @param {HTMLCanvasElement} source one pixel a cell @param {Options} options */
  constructor(source, options) {
    this.source = source;
    this.options = options;
    this.rows = source.height;
    this.columns = source.width;
    this.wide = this.columns * SLENDER < this.rows ? Math.ceil(this.rows / ENOUGH / this.columns) : 1;
    this.high = this.rows * SLENDER < this.columns ? Math.ceil(this.columns / ENOUGH / this.rows) : 1;
    this.canvas = element("canvas", {
      tabindex: options.compact ? -1 : 0,
      role: "img",
      "aria-label": `${options.name || "heatmap"}, ${grouped(this.rows)} by ${grouped(this.columns)} cells${options.compact ? "" : "; arrow keys move over the cells"}`,
    });
    this.box = element("div", { class: options.compact ? "view" : "view zooms" }, this.canvas);
    this.x = this.y = this.scale = this.wanted = this.fitted = 0; // in device pixels
    this.width = this.height = this.left = this.right = this.over = this.below = 0; // in CSS pixels
    this.ratio = devicePixelRatio;
    /** @type {Place | null} */
    this.cursor = null;
    /** @type {Viewer[]} */
    this.others = []; // that are zoomed and moved together with this one
    /** @type {((context: CanvasRenderingContext2D, viewer: Viewer) => void) | null} */
    this.marked = null; // draws over the cells what is pointed at elsewhere
    this.listen();
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.box);
  }

  resize() {
    const width = Math.floor(this.box.clientWidth);
    if (!width || (width === this.width && devicePixelRatio === this.ratio)) return;
    const untouched = this.scale === this.fitted;
    this.width = width;
    this.ratio = devicePixelRatio;
    this.margins();
    const across = (width - this.left - this.right) * this.ratio;
    const down = this.options.height * this.ratio;
    this.fitted = this.snapped(Math.min(across / (this.columns * this.wide), down / (this.rows * this.high), this.enough()));
    const tall = Math.ceil((this.rows * this.high * this.fitted) / this.ratio);
    this.height = Math.max(tall, this.options.compact ? 12 : 60) + this.below + this.over;
    this.canvas.width = Math.round(width * this.ratio);
    this.canvas.height = Math.round(this.height * this.ratio);
    this.canvas.style.width = `${this.canvas.width / this.ratio}px`;
    this.canvas.style.height = `${this.canvas.height / this.ratio}px`;
    if (!untouched) this.move(0, 0);
    else if (this.options.view) this.restore(this.options.view);
    else this.fit();
  }

  margins() {
    const { above = 0, beside = 0, names = 0 } = this.options.margins ?? {};
    this.left = Math.max(this.options.rows ? 54 : 0, names, above ? 54 : 0);
    this.below = (this.options.columns ? 36 : 0) + columnRoom(this.options.columnNames);
    this.over = above + (this.options.rows ? 18 : 0);
    this.right = beside;
  }

  /** The size that it takes where there is room, in CSS pixels. */
  most() {
    this.margins();
    const scale = this.snapped(Math.min((this.options.height * this.ratio) / (this.rows * this.high), this.enough())) / this.ratio;
    const width = Math.ceil(scale * this.columns * this.wide) + this.left + this.right;
    return { width, height: Math.ceil(scale * this.rows * this.high) + this.below + this.over };
  }

  /** Show a rectangle of cells as large as it fits; of one that is as long as the map the beginning, in its full height or width. @param {[number, number, number, number]} rectangle row, column, height and width */
  show([top, left, high, wide]) {
    const frame = this.frame();
    const sides = [frame.width / (wide * this.wide), frame.height / (high * this.high)].map((scale) => 0.9 * scale);
    const whole = Math.min(...sides);
    const scale = whole < 1.2 * this.fitted ? Math.min(Math.max(...sides), LARGE_CELL * this.ratio) : whole;
    this.scale = this.wanted = this.snapped(clamp(scale, this.fitted, LARGEST_CELL * this.ratio));
    const middle = (/** @type {number} */ from, /** @type {number} */ length, /** @type {number} */ room) => from - Math.max(room - length, 0) / 2;
    this.x = middle(left * this.cellWidth, wide * this.cellWidth, frame.width);
    this.y = middle(top * this.cellHeight, high * this.cellHeight, frame.height);
    this.move(0, 0);
  }

  /** Which part is in view, for another viewer of as many cells. @returns {View} */
  view() {
    return { scale: this.scale === this.fitted ? 0 : this.scale, row: this.y / this.cellHeight || 0, column: this.x / this.cellWidth || 0, cursor: this.cursor };
  }

  /** Show the part that another viewer has in view. @param {View} view */
  restore(view) {
    this.scale = this.wanted = view.scale || this.fitted;
    this.x = view.column * this.cellWidth;
    this.y = view.row * this.cellHeight;
    this.cursor = view.cursor;
    this.place(0, 0);
  }

  share() {
    for (const other of this.others) if (other.width) other.restore(this.view());
  }

  enough() {
    return (this.options.compact ? 16 : 32) * this.ratio;
  }

  /** @param {number} scale */
  snapped(scale) {
    return scale >= 1 ? Math.floor(scale) : scale;
  }

  // The plot's frame in device pixels.
  frame() {
    const x = Math.round(this.left * this.ratio);
    const y = Math.round(this.over * this.ratio);
    const right = Math.round(this.right * this.ratio);
    return { x, y, width: this.canvas.width - x - right, height: this.canvas.height - y - Math.round(this.below * this.ratio) };
  }

  fit() {
    this.scale = this.wanted = this.fitted;
    this.x = this.y = 0;
    this.draw();
  }

  reset() {
    this.fit();
    this.share();
  }

  /** Zoom about a point in device pixels, in the frame; by default its middle. @param {number} factor @param {{x: number, y: number}} [at] */
  zoom(factor, at) {
    const frame = this.frame();
    const point = at ?? { x: frame.width / 2, y: frame.height / 2 };
    const before = this.scale;
    this.wanted = clamp(this.wanted * factor, Math.min(this.fitted, 1), LARGEST_CELL * this.ratio);
    let scale = this.wanted >= 1 ? Math.round(this.wanted) : this.wanted;
    if (this.wanted <= this.fitted && factor < 1) scale = this.wanted = this.fitted;
    if (scale === before) return;
    this.scale = scale;
    this.x = (this.x + point.x) * (scale / before) - point.x;
    this.y = (this.y + point.y) * (scale / before) - point.y;
    this.move(0, 0);
  }

  /** Move by device pixels, and the others with it. @param {number} dx @param {number} dy */
  move(dx, dy) {
    this.place(dx, dy);
    this.share();
  }

  /** The same for this one alone. @param {number} dx @param {number} dy */
  place(dx, dy) {
    const frame = this.frame();
    const full = { x: this.columns * this.wide * this.scale, y: this.rows * this.high * this.scale };
    this.x = Math.round(clamp(this.x - dx, 0, Math.max(0, full.x - frame.width)));
    this.y = Math.round(clamp(this.y - dy, 0, Math.max(0, full.y - frame.height)));
    this.draw();
  }

  get cellWidth() {
    return this.wide * this.scale;
  }

  get cellHeight() {
    return this.high * this.scale;
  }

  draw() {
    if (!this.width) return;
    this.box.classList.toggle("whole", this.scale === this.fitted); // nothing to move: a finger scrolls the page
    const context = penOf(this.canvas);
    const frame = this.frame();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    const { cellWidth, cellHeight } = this;
    const first = { column: Math.floor(this.x / cellWidth), row: Math.floor(this.y / cellHeight) };
    const last = {
      column: Math.min(this.columns, Math.ceil((this.x + frame.width) / cellWidth)),
      row: Math.min(this.rows, Math.ceil((this.y + frame.height) / cellHeight)),
    };
    context.save();
    context.beginPath();
    context.rect(frame.x, frame.y, frame.width, frame.height);
    context.clip();
    context.translate(frame.x - this.x, frame.y - this.y);
    context.imageSmoothingEnabled = this.scale < 1;
    context.imageSmoothingQuality = "high";
    const across = last.column - first.column;
    const down = last.row - first.row;
    if (across > 0 && down > 0) {
      context.drawImage(
        this.source,
        first.column, first.row, across, down,
        first.column * cellWidth, first.row * cellHeight, across * cellWidth, down * cellHeight,
      );
    }
    this.options.decorate?.(context, this, first, last);
    this.marked?.(context, this);
    if (this.cursor) this.outline(context, this.cursor);
    context.restore();
    if (this.left || this.below) this.axes(context, frame);
    this.options.frame?.(context, this, frame, first, last);
    Object.assign(this.canvas.dataset, {
      left: (frame.x - this.x) / this.ratio,
      top: (frame.y - this.y) / this.ratio,
      cellWidth: cellWidth / this.ratio,
      cellHeight: cellHeight / this.ratio,
    });
    this.options.changed?.(this);
  }

  /** @param {CanvasRenderingContext2D} context @param {Place} place */
  outline(context, { row, column }) {
    const line = Math.max(1, Math.round(this.ratio));
    for (const { width, style } of [{ width: 3 * line, style: "#ffffff" }, { width: line, style: "#000000" }]) {
      context.lineWidth = width;
      context.strokeStyle = style;
      context.strokeRect(column * this.cellWidth, row * this.cellHeight, this.cellWidth, this.cellHeight);
    }
  }

  /** @param {CanvasRenderingContext2D} context @param {Frame} frame */
  axes(context, frame) {
    const ratio = this.ratio;
    context.fillStyle = context.strokeStyle = color("--muted", this.canvas);
    context.font = `${11 * ratio}px system-ui, sans-serif`;
    context.lineWidth = 1;
    const drawnWidth = Math.min(frame.width, this.columns * this.cellWidth - this.x);
    const drawnHeight = Math.min(frame.height, this.rows * this.cellHeight - this.y);
    if (this.options.columnNames) nameColumns(this, context, frame, frame.y + drawnHeight);
    if (this.options.columns && this.options.columnNames) {
      context.textBaseline = "top";
      context.textAlign = "left";
      context.fillText(this.options.columns, frame.x, frame.y + drawnHeight + (columnRoom(this.options.columnNames) + 14) * ratio);
    } else if (this.options.columns) {
      const base = frame.y + drawnHeight;
      context.textBaseline = "top";
      for (const { at, index } of this.indices(this.options.columnRuns, this.x, drawnWidth, this.cellWidth, this.options.cell[1], 70)) {
        const place = Math.round(frame.x + at * this.cellWidth - this.x);
        context.textAlign = "center";
        context.fillRect(place, base, 1, 4 * ratio);
        context.fillText(grouped(index), clamp(place, frame.x + 6 * ratio, frame.x + frame.width - 14 * ratio), base + 5 * ratio);
      }
      context.textAlign = "left";
      context.fillText(this.options.columns, frame.x, base + 20 * ratio);
    }
    if (this.options.rows) {
      context.textBaseline = "middle";
      context.textAlign = "right";
      const wanted = this.options.named ? [] : this.indices(this.options.rowRuns, this.y, drawnHeight, this.cellHeight, this.options.cell[0], 34);
      for (const { at, index } of wanted) {
        const place = Math.round(frame.y + at * this.cellHeight - this.y);
        context.fillRect(frame.x - 4 * ratio, place, 4 * ratio, 1);
        context.fillText(grouped(index), frame.x - 6 * ratio, place);
      }
      context.textAlign = "left";
      context.textBaseline = "top";
      context.fillText(this.options.rows, 0, 1 * ratio);
    }
  }

  /**
   * The indices to write beside a stretch of cells, from a pixel on. pixels: of a cell. weights: in a cell. Of matrices side by side the ticks may be closer.
   * @param {Runs | undefined} runs @param {number} from @param {number} length @param {number} pixels @param {number} weights @param {number} apart
   */
  indices(runs, from, length, pixels, weights, apart) {
    const room = apart * this.ratio * (runs && runs.length > 1 ? 0.6 : 1);
    return indexTicks(runs ?? [], weights, pixels, room, from / pixels, (from + length) / pixels);
  }

  /** The cell below the pointer, if there is one. @param {MouseEvent} event */
  cellAt(event) {
    const place = this.canvas.getBoundingClientRect();
    const frame = this.frame();
    const x = (event.clientX - place.left) * this.ratio - frame.x;
    const y = (event.clientY - place.top) * this.ratio - frame.y;
    if (x < 0 || y < 0 || x >= frame.width || y >= frame.height) return null;
    const row = Math.floor((y + this.y) / this.cellHeight);
    const column = Math.floor((x + this.x) / this.cellWidth);
    return row < this.rows && column < this.columns ? { row, column, x, y } : null;
  }

  /** Where the pointer is in the frame, in device pixels. @param {{clientX: number, clientY: number}} event */
  point(event) {
    const place = this.canvas.getBoundingClientRect();
    const frame = this.frame();
    return { x: (event.clientX - place.left) * this.ratio - frame.x, y: (event.clientY - place.top) * this.ratio - frame.y };
  }

  listen() {
    const { canvas, options } = this;
    if (options.compact) {
      canvas.addEventListener("pointermove", (event) => this.hover(event));
      canvas.addEventListener("pointerleave", () => hideTip());
      return;
    }
    handle(canvas, {
      point: (event) => this.point(event),
      zoom: (factor, at) => this.zoom(factor, at),
      move: (dx, dy) => this.move(dx, dy),
      hover: (event) => (event ? this.hover(event) : hideTip()),
      wheels: (event) => event.ctrlKey || event.metaKey || canvas.matches(":focus"), // else the page scrolls
      drags: (pressed) => this.box.classList.toggle("drags", pressed),
    });
    canvas.addEventListener("dblclick", () => this.reset());
    canvas.addEventListener("keydown", (event) => this.pressed(event));
    canvas.addEventListener("focus", () => this.options.changed?.(this));
    canvas.addEventListener("blur", () => {
      for (const each of [this, ...this.others]) {
        each.cursor = null;
        each.draw();
      }
    });
  }

  /** @param {MouseEvent} event */
  hover(event) {
    const cell = this.cellAt(event);
    const lines = cell && this.options.tell(cell.row, cell.column);
    if (lines) showTip(event, lines);
    else hideTip();
  }

  /** @param {KeyboardEvent} event */
  pressed(event) {
    /** @type {Record<string, [number, number]>} */
    const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    if (event.key === "+" || event.key === "=") this.zoom(1.5);
    else if (event.key === "-") this.zoom(1 / 1.5);
    else if (event.key === "0") this.reset();
    else if (event.key === "Escape" && this.scale !== this.fitted) this.reset();
    else if (event.key === "Escape") this.canvas.blur(); // the wheel scrolls the page again
    else if (steps[event.key]) this.step(steps[event.key], event.shiftKey ? 10 : 1);
    else return;
    event.preventDefault();
  }

  /** @param {[number, number]} direction @param {number} by */
  step([down, across], by) {
    const from = this.cursor ?? { row: Math.floor(this.y / this.cellHeight), column: Math.floor(this.x / this.cellWidth) };
    const moved = this.cursor !== null;
    this.cursor = {
      row: clamp(from.row + (moved ? down * by : 0), 0, this.rows - 1),
      column: clamp(from.column + (moved ? across * by : 0), 0, this.columns - 1),
    };
    const frame = this.frame();
    const left = this.cursor.column * this.cellWidth;
    const top = this.cursor.row * this.cellHeight;
    this.x = clamp(this.x, left + this.cellWidth - frame.width, left);
    this.y = clamp(this.y, top + this.cellHeight - frame.height, top);
    this.move(0, 0);
    this.options.read?.(this.cursor.row, this.cursor.column);
  }

  tools() {
    const facts = element("span", { class: "facts" });
    const ways = matchMedia("(hover: none)").matches ? ["two fingers zoom"] : ["ctrl + wheel zooms (or click first)", "the wheel zooms until Esc"];
    const hint = element("span", { class: "facts hint" }, ...ways.map((text) => element("span", { text }))); // both in one place: nothing moves at a click
    this.options.changed = () => {
      const size = this.scale / this.ratio;
      facts.textContent = this.scale < 1
        ? `${Math.round(100 * this.scale)} %: several cells a pixel; zoom in for each`
        : `a cell is ${brief(size * this.wide)} × ${brief(size * this.high)} px`;
      hint.classList.toggle("clicked", this.canvas.matches(":focus"));
    };
    const button = (/** @type {string} */ text, /** @type {string} */ label, /** @type {() => void} */ act) => element("button", { type: "button", "aria-label": label, title: label, text, onclick: act });
    return element(
      "div",
      { class: "tools" },
      button("−", "zoom out (− key)", () => this.zoom(1 / 1.5)),
      button("+", "zoom in (+ key, or ctrl + wheel)", () => this.zoom(1.5)),
      button("fit", "show all (0 key, or double click)", () => this.reset()),
      facts,
      hint,
    );
  }
}

/** Let viewers of as many cells, and as many weights a cell, zoom and move together. @param {Viewer[]} viewers */
export function lock(viewers) {
  const alike = (/** @type {Viewer} */ one, /** @type {Viewer} */ other) =>
    one.rows === other.rows && one.columns === other.columns && String(one.options.cell) === String(other.options.cell);
  for (const viewer of viewers) viewer.others = viewers.filter((other) => other !== viewer && alike(viewer, other));
}
