// A map on a canvas: tiles, borders, names, numbers, and the cell under the pointer. One camera for all pictures beside each other.

import { Camera } from "./camera.js";
import { colourOf } from "./colours.js";
import { element, penOf, widthOf } from "./elements.js";
import { brief, clamp } from "./format.js";
import { handle } from "./gestures.js";
import { Places } from "./places.js";
import { Tiles, planeOf } from "./tiles.js";

const NUMBERS = 44; // device pixels a weight from which its number is written, by the pixel ratio
const EDGE = 8; // device pixels a side from which a tensor has a border, by the pixel ratio
const BOX = 34; // device pixels a side from which a module has a box, by the pixel ratio
const FRAME = 8; // milliseconds of a frame for painting tiles
const SOON = { parts: 120, tiles: 50 }; // milliseconds between two frames while more arrives: of what is still being read, or of a new place
const PARENTS = 6; // levels above that may stand in for a tile that is not there

/**
 * @typedef {import("./tiles.js").Look} Look
 * @typedef {import("./places.js").Box} Box
 * @typedef {import("./places.js").Place} Place
 * A rectangle of base cells with a name, as the server tells it: [name or number, rectangles of top, left, height, width].
 * @typedef {[any, [number, number, number, number][]]} Named
 * What there is to draw.
 * @typedef {{rows: number, columns: number, cells: [number, number][], base: number, tile: number, tensors: any[][], regions: Named[], labels: Named[], marks: Named[], kind_of: number[]}} Atlas
 * How pictures stand beside each other: one, all side by side, or two of them to the left and right of a line at *swipe* (0…1).
 * @typedef {{kind: "one" | "beside" | "swipe", pictures: number[], swipe: number}} Arrangement
 */

export class MapView {
  /**
   * @param {Atlas} atlas @param {import("./tiles.js").Provider} provider
   * @param {{looks: (picture: number, level: number) => Look | null, labels: string[], pointed: (place: {row: number, column: number, picture: number} | null, event: MouseEvent | null) => void, chosen: (place: {row: number, column: number, picture: number}) => void, moved: () => void, arrived: () => void}} options
   */
  constructor(atlas, provider, options) {
    this.atlas = atlas;
    this.options = options;
    this.camera = new Camera(atlas);
    this.tiles = new Tiles(provider, atlas, (more) => {
      if (more) this.drawSoon(SOON[more]);
      else this.draw();
      options.arrived();
    });
    this.soon = 0;
    this.places = new Places(atlas);
    /** @type {Box[]} */
    this.boxes = [];
    this.marked = true; // borders and names are drawn over the cells
    this.canvas = element("canvas", { tabindex: 0, role: "application", "aria-roledescription": "map", "aria-label": "map of the weights" });
    this.box = element("div", { class: "map" }, this.canvas);
    /** @type {Arrangement} */
    this.arrangement = { kind: "one", pictures: [0], swipe: 0.5 };
    this.ratio = 1;
    this.dark = false;
    this.ground = "#fff"; // the colour where there is no map
    this.highlighted = -1;
    /** @type {{row: number, column: number} | null} */
    this.cursor = null;
    /** @type {{row: number, column: number} | null} where a cursor begins, while that is in sight */
    this.start = null;
    this.queued = false;
    this.frames = /** @type {number[]} */ ([]);
    new ResizeObserver(() => this.resized()).observe(this.box);
    this.listen();
  }

  resized() {
    const place = this.box.getBoundingClientRect();
    this.ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.max(Math.round(place.width * this.ratio), 1);
    this.canvas.height = Math.max(Math.round(place.height * this.ratio), 1);
    this.canvas.style.width = `${place.width}px`;
    this.canvas.style.height = `${place.height}px`;
    const [width, height] = this.room();
    this.camera.resize(width, height);
    this.now();
  }

  /** The size of one picture's view, in device pixels. @returns {[number, number]} */
  room() {
    const beside = this.arrangement.kind === "beside" ? this.arrangement.pictures.length : 1;
    return [Math.floor(this.canvas.width / beside), this.canvas.height];
  }

  /** @param {Arrangement} arrangement */
  arrange(arrangement) {
    this.arrangement = arrangement;
    this.camera.resize(...this.room());
    this.draw();
  }

  /** Draw with the next frame. */
  draw() {
    if (this.queued) return;
    this.queued = true;
    requestAnimationFrame(() => {
      this.queued = false;
      this.now(FRAME);
    });
  }

  /** Draw with a later frame, so that much of what arrives now is in it. @param {number} [wait] milliseconds */
  drawSoon(wait = SOON.parts) {
    this.soon ||= window.setTimeout(() => this.draw(), wait);
  }

  /** Draw now. @param {number} room milliseconds for painting tiles; what is not painted then is drawn with the next frame */
  now(room = Infinity) {
    const began = performance.now();
    clearTimeout(this.soon);
    this.soon = 0;
    this.tiles.until = began + room;
    this.tiles.late = false;
    const pen = penOf(this.canvas);
    const { level } = this.camera;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.imageSmoothingEnabled = false;
    pen.fillStyle = this.ground;
    pen.fillRect(0, 0, this.canvas.width, this.canvas.height);
    const [width] = this.room();
    const sight = this.camera.sight;
    const { kind, pictures, swipe } = this.arrangement;
    for (const [turn, picture] of pictures.entries()) {
      const left = kind === "beside" ? turn * width : 0;
      pen.save();
      pen.beginPath();
      if (kind === "swipe") pen.rect(turn ? swipe * this.canvas.width : 0, 0, turn ? this.canvas.width : swipe * this.canvas.width, this.canvas.height);
      else pen.rect(left, 0, width, this.canvas.height);
      pen.clip();
      pen.translate(left, 0);
      const look = this.options.looks(picture, level);
      const tiles = this.tiles.within(level, sight);
      if (look) for (const place of tiles) this.drawTile(pen, picture, level, place, look);
      if (this.marked) this.drawMarks(pen, picture, look, level);
      const line = kind === "swipe" ? Math.round(swipe * this.canvas.width) : 0;
      if (pictures.length > 1) this.drawTitle(pen, this.options.labels[picture] ?? "", turn ? line : 0, kind === "beside" ? width : turn ? this.canvas.width - line : line);
      pen.restore();
      if (turn && kind !== "one") {
        pen.fillStyle = this.dark ? "#fff" : "#000";
        pen.fillRect(kind === "swipe" ? Math.round(swipe * this.canvas.width) - 1 : left - 1, 0, 2, this.canvas.height);
      }
    }
    this.ask();
    if (this.tiles.late) this.draw();
    this.frames.push(performance.now() - began);
    if (this.frames.length > 600) this.frames.shift();
  }

  /** Ask for what is missing of the tiles in sight; what comes is drawn. */
  ask() {
    const plane = this.options.looks(this.arrangement.pictures[0], this.camera.level)?.plane;
    if (plane) this.tiles.want(this.wanted(), [plane]);
  }

  /** The tiles in sight. @returns {{picture: number, level: number, row: number, column: number}[]} */
  wanted() {
    const { level, sight } = this.camera;
    const places = this.tiles.within(level, sight);
    return this.arrangement.pictures.flatMap((picture) => places.map((place) => ({ picture, level, ...place })));
  }

  /** True where every tile in sight is there as it is now, and drawn. */
  complete() {
    return !this.queued && !this.soon && !this.tiles.late && this.wanted().every(({ picture, level, row, column }) => {
      const tile = this.tiles.get(picture, level, row, column);
      return tile !== undefined && !tile.asked && !tile.dirty;
    });
  }

  /** @param {CanvasRenderingContext2D} pen @param {number} picture @param {number} level @param {{row: number, column: number}} place @param {Look} look */
  drawTile(pen, picture, level, { row, column }, look) {
    const [high, wide] = this.atlas.cells[level];
    const side = this.atlas.tile;
    const found = this.tiles.get(picture, level, row, column);
    const painted = found && this.tiles.painted(found, look, () => this.parts(level, row, column));
    if (painted) {
      const { x, y } = this.placed(row * side * high, column * side * wide);
      const end = this.placed((row * side + painted.height) * high, (column * side + painted.width) * wide);
      pen.drawImage(painted, x, y, end.x - x, end.y - y);
      return;
    }
    for (let above = level + 1; above < Math.min(level + PARENTS, this.atlas.cells.length); above++) {
      const [tall, broad] = this.atlas.cells[above];
      const [down, across] = [(row * side * high) / tall, (column * side * wide) / broad];
      const parent = this.tiles.get(picture, above, Math.floor(down / side), Math.floor(across / side));
      const own = this.options.looks(picture, above);
      const image = parent && own && this.tiles.painted(parent, own, () => this.parts(above, Math.floor(down / side), Math.floor(across / side)));
      if (!image) continue;
      const [top, left] = [down % side, across % side];
      const rows = Math.min((side * high) / tall, image.height - top);
      const columns = Math.min((side * wide) / broad, image.width - left);
      const { x, y } = this.placed(row * side * high, column * side * wide);
      if (rows > 0 && columns > 0) pen.drawImage(image, left, top, columns, rows, x, y, columns * broad * this.camera.scale, rows * tall * this.camera.scale);
      return;
    }
  }

  /** Which cells of a tile are of which kind of tensor. @param {number} level @param {number} row @param {number} column @returns {import("./tiles.js").Part[]} larger tensors first */
  parts(level, row, column) {
    const { cells, base, tile, kind_of: kinds } = this.atlas;
    const [high, wide] = [cells[base][0] / cells[level][0], cells[base][1] / cells[level][1]];
    const [rows, columns] = this.tiles.shape(level);
    const [top, left] = [row * tile, column * tile];
    const [height, width] = [Math.min(tile, rows - top), Math.min(tile, columns - left)];
    const size = (/** @type {Place} */ each) => this.atlas.tensors[each.tensor][1].reduce((/** @type {number} */ product, /** @type {number} */ side) => product * side, 1);
    return this.places.within(top / high, left / wide, (top + height) / high, (left + width) / wide).sort((a, b) => size(b) - size(a)).map((each) => ({
      kind: kinds[each.tensor],
      top: clamp(Math.floor(each.top * high) - top, 0, height),
      left: clamp(Math.floor(each.left * wide) - left, 0, width),
      bottom: clamp(Math.ceil(each.bottom * high) - top, 0, height),
      right: clamp(Math.ceil(each.right * wide) - left, 0, width),
    }));
  }

  /** Where a weight's upper left corner is in the view. @param {number} row @param {number} column */
  placed(row, column) {
    return { x: Math.round((column - this.camera.column) * this.camera.scale), y: Math.round((row - this.camera.row) * this.camera.scale) };
  }

  /** A rectangle of base cells in the view: x, y, width, height. @param {[number, number, number, number]} rectangle @returns {[number, number, number, number]} */
  rectangle([top, left, height, width]) {
    const [high, wide] = this.atlas.cells[this.atlas.base];
    const from = this.placed(top * high, left * wide);
    const to = this.placed(Math.min((top + height) * high, this.atlas.rows), Math.min((left + width) * wide, this.atlas.columns));
    return [from.x, from.y, to.x - from.x, to.y - from.y];
  }

  /** @param {CanvasRenderingContext2D} pen @param {number} picture @param {Look | null} look @param {number} level */
  drawMarks(pen, picture, look, level) {
    const { ratio } = this;
    const [width, height] = this.room();
    const seen = (/** @type {number[]} */ [x, y, across, down]) => x < width && y < height && x + across > 0 && y + down > 0;
    const ink = this.dark ? "#e6eaf0" : "#1b2330";
    pen.strokeStyle = "rgba(105, 112, 125, .85)"; // seen on light and on dark cells
    pen.lineWidth = Math.max(1, Math.round(ratio));
    pen.textBaseline = "top";
    pen.textAlign = "left";
    pen.font = `${12 * ratio}px system-ui, sans-serif`;
    const names = [];
    pen.beginPath();
    for (const { tensor: number, top, left, bottom, right } of this.places.seen(this.camera.sight)) {
      const place = this.rectangle([top, left, bottom - top, right - left]);
      if (number === this.highlighted) names.push({ number, place, lit: true });
      if (!seen(place) || Math.min(place[2], place[3]) < EDGE * ratio) continue;
      pen.rect(place[0] + 0.5, place[1] + 0.5, place[2] - 1, place[3] - 1);
      if (Math.max(place[2], place[3]) > 30 * ratio && Math.min(place[2], place[3]) > 20 * ratio) names.push({ number, place });
    }
    pen.stroke();
    if (level === 0 && this.camera.scale >= NUMBERS * ratio) this.drawNumbers(pen, picture, look);
    for (const [text, rectangles] of this.atlas.labels) {
      for (const each of rectangles) {
        const place = this.rectangle(each);
        if (!seen(place)) continue;
        if (place[3] < 7 * ratio) continue;
        const size = clamp(place[3] * 0.75, 9 * ratio, 16 * ratio);
        pen.font = `600 ${size}px system-ui, sans-serif`;
        pen.fillStyle = ink;
        const left = clamp(0, place[0], place[0] + place[2]);
        const room = place[0] + place[2] - left;
        const shown = fitted(pen, text, room) || fitted(pen, text.split(".").slice(-1)[0], room);
        if (shown) pen.fillText(shown, left, place[1] + Math.max((place[3] - size) / 2, 0));
      }
    }
    const taken = this.drawBoxes(pen, seen);
    pen.font = `${12 * ratio}px system-ui, sans-serif`;
    for (const { number, place, lit } of names) {
      const [x, y, across, down] = place;
      if (lit) {
        pen.save();
        pen.strokeStyle = this.dark ? "#ffd75e" : "#b3261e";
        pen.lineWidth = 2 * ratio;
        pen.strokeRect(x, y, across, down);
        pen.restore();
        continue;
      }
      const left = clamp(x, 0, x + across);
      const top = clamp(y, 0, y + down - 18 * ratio);
      const room = Math.min(x + across, width) - left - 8 * ratio;
      const shape = this.atlas.tensors[number][1].join("×");
      const full = this.atlas.tensors[number][0];
      const last = full.replace(/\.weight$/, "").split(".").slice(-1)[0];
      const texts = [`${full}  ${shape}`, full, last];
      const shown = texts.find((text) => widthOf(pen, text) <= room);
      const high = Math.min(y + down, height) - top - 8 * ratio;
      const upright = shown ? undefined : texts.find((text) => widthOf(pen, text) <= high);
      if (upright) {
        pen.save();
        pen.translate(left + 2 * ratio, top + 4 * ratio + widthOf(pen, upright) + 6 * ratio);
        pen.rotate(-Math.PI / 2);
        this.plate(pen, upright, 0, 0);
        pen.restore();
        continue;
      }
      if (!shown || 17 * ratio * (widthOf(pen, shown) + 8 * ratio) > 0.35 * across * down) continue;
      this.plate(pen, shown, left + 2 * ratio, top + 2 * ratio);
    }
    for (const [text, rectangles] of this.atlas.marks) {
      for (const each of rectangles) {
        const [x, y, across, down] = this.rectangle(each);
        if (!seen([x, y, across, down]) || across < 60 * ratio || down < 60 * ratio) continue;
        const [from, top, wide] = [Math.max(x, 0) + 2 * ratio, Math.min(y + down, height) - 19 * ratio, widthOf(pen, text)];
        if (from + wide + 8 * ratio < x + across && !overlaps(taken, from, top, wide + 6 * ratio, 16 * ratio)) this.plate(pen, text, from, top);
      }
    }
    if (this.cursor) {
      const [high, wide] = this.atlas.cells[level];
      const row = Math.floor(this.cursor.row / high) * high;
      const column = Math.floor(this.cursor.column / wide) * wide;
      const from = this.placed(row, column);
      const to = this.placed(row + high, column + wide);
      pen.strokeStyle = "#fff";
      pen.lineWidth = 3 * ratio;
      pen.strokeRect(from.x, from.y, to.x - from.x, to.y - from.y);
      pen.strokeStyle = "#000";
      pen.lineWidth = ratio;
      pen.strokeRect(from.x, from.y, to.x - from.x, to.y - from.y);
    }
  }

  /** Modules, as names tell them: a line around each, and its name where those inside have no room for theirs. @param {CanvasRenderingContext2D} pen @param {(place: number[]) => boolean} seen @returns where names are now */
  drawBoxes(pen, seen) {
    const { ratio } = this;
    const [width, height] = this.room();
    pen.font = `600 ${12 * ratio}px system-ui, sans-serif`;
    /** @type {[number, number, number, number][]} */
    const taken = [];
    for (const { text, top, left, bottom, right, entry } of this.boxes) {
      const [x, y, across, down] = this.rectangle([top, left, bottom - top, right - left]);
      if (!seen([x, y, across, down]) || Math.min(across, down) < BOX * ratio) continue;
      for (const [thick, ink] of /** @type {[number, string][]} */ ([[3, "rgba(10, 14, 20, .8)"], [1, "rgba(255, 255, 255, .9)"]])) {
        [pen.lineWidth, pen.strokeStyle] = [thick * ratio, ink];
        pen.strokeRect(x, y, across, down);
      }
      // Those inside share the box; where each is high and wide enough for a name of its own, this one only stands in the way.
      const inside = Math.min(across, down) / Math.sqrt(entry.children.length);
      if (inside > 150 * ratio) continue;
      const shown = [text, text.split(".").slice(-1)[0]].find((each) => widthOf(pen, each) <= across - 10 * ratio);
      if (!shown) continue;
      const wide = widthOf(pen, shown) + 6 * ratio;
      const from = [clamp(x + across - wide - 3 * ratio, 2, Math.max(width - wide - 2, 2)), clamp(y + down - 19 * ratio, 2, Math.max(height - 18 * ratio, 2))];
      if (from[0] < x || from[1] < y || overlaps(taken, from[0], from[1], wide, 16 * ratio)) continue;
      taken.push([from[0], from[1], wide, 16 * ratio]);
      this.plate(pen, shown, from[0], from[1]);
    }
    return taken;
  }

  /** A name on a plate of its own. @param {CanvasRenderingContext2D} pen @param {string} text @param {number} x @param {number} y */
  plate(pen, text, x, y) {
    const { ratio } = this;
    pen.fillStyle = this.dark ? "rgba(18, 22, 28, .82)" : "rgba(255, 255, 255, .86)";
    pen.fillRect(x, y, widthOf(pen, text) + 6 * ratio, 16 * ratio);
    pen.fillStyle = this.dark ? "#e6eaf0" : "#1b2330";
    pen.fillText(text, x + 3 * ratio, y + 2 * ratio);
  }

  /** @param {CanvasRenderingContext2D} pen @param {number} picture @param {Look | null} look */
  drawNumbers(pen, picture, look) {
    const { scale } = this.camera;
    const [top, left, bottom, right] = this.camera.sight.map(Math.floor);
    const { tile } = this.atlas;
    pen.font = `${clamp(scale / 6.4, 7 * this.ratio, 15 * this.ratio)}px ui-monospace, monospace`;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    for (let row = top; row <= bottom; row++) {
      for (let column = left; column <= right; column++) {
        const found = this.tiles.get(picture, 0, Math.floor(row / tile), Math.floor(column / tile));
        const cells = found?.cells;
        const values = cells && look && planeOf(cells, look.plane);
        const at = cells ? (row % tile) * cells.width + (column % tile) : 0;
        if (!cells || !values || column % tile >= cells.width || row % tile >= cells.height || !cells.some[at]) continue;
        const { x, y } = this.placed(row, column);
        const value = values[at];
        const own = look.kinds?.[this.atlas.kind_of[this.places.tensorAt(row, column)]] ?? look;
        pen.fillStyle = bright(colourOf(value, own)) ? "#111" : "#fff";
        pen.fillText(brief(value, 3), x + scale / 2, y + scale / 2);
      }
    }
    pen.textAlign = "left";
    pen.textBaseline = "top";
  }

  /** @param {CanvasRenderingContext2D} pen @param {string} text @param {number} left @param {number} room */
  drawTitle(pen, text, left, room) {
    const { ratio } = this;
    pen.font = `600 ${13 * ratio}px system-ui, sans-serif`;
    const shown = fitted(pen, text, room - 20 * ratio) || text.slice(0, 1);
    pen.fillStyle = this.dark ? "rgba(18, 22, 28, .9)" : "rgba(255, 255, 255, .92)";
    pen.fillRect(left + 6 * ratio, this.canvas.height - 28 * ratio, widthOf(pen, shown) + 12 * ratio, 21 * ratio);
    pen.fillStyle = this.dark ? "#e6eaf0" : "#1b2330";
    pen.fillText(shown, left + 12 * ratio, this.canvas.height - 24 * ratio);
  }

  /** The picture and the weight at a point of the page. @param {{clientX: number, clientY: number}} event */
  under(event) {
    const place = this.canvas.getBoundingClientRect();
    const x = (event.clientX - place.left) * this.ratio;
    const y = (event.clientY - place.top) * this.ratio;
    const [width] = this.room();
    const { kind, pictures, swipe } = this.arrangement;
    const turn = kind === "beside" ? clamp(Math.floor(x / width), 0, pictures.length - 1) : kind === "swipe" && x > swipe * this.canvas.width ? 1 : 0;
    const inside = kind === "beside" ? x - turn * width : x;
    const { row, column } = this.camera.at(inside, y);
    const there = row >= 0 && column >= 0 && row < this.atlas.rows && column < this.atlas.columns;
    return { x: inside, y, place: there ? { row, column, picture: pictures[turn] } : null };
  }

  listen() {
    const { canvas } = this;
    handle(canvas, {
      point: (event) => this.under(event),
      zoom: (factor, { x, y }) => {
        this.camera.zoom(factor, x, y);
        this.changed();
      },
      move: (dx, dy) => {
        this.camera.move(dx, dy);
        this.changed();
      },
      hover: (event) => this.options.pointed(event && this.under(event).place, event),
      wheels: () => true,
      tap: (event) => {
        const { place } = this.under(event);
        if (!place) return;
        this.cursor = place;
        this.options.chosen(place);
        this.draw();
      },
      drags: (pressed) => pressed && canvas.focus({ preventScroll: true }),
    });
    canvas.addEventListener("dblclick", (event) => {
      const { x, y } = this.under(event);
      this.camera.zoom(event.shiftKey ? 1 / 4 : 4, x, y);
      this.changed();
    });
    canvas.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      if (this.pressed(event.key, event.shiftKey)) event.preventDefault();
    });
  }

  changed() {
    this.options.moved();
    this.draw();
  }

  /** Arrow keys move a cell cursor, with shift the view; + and − zoom; 0 shows all. @param {string} key @param {boolean} shift @returns {boolean} whether it meant anything */
  pressed(key, shift) {
    const steps = /** @type {Record<string, [number, number]>} */ ({ ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] });
    if (key === "+" || key === "=") this.camera.zoom(2, ...this.focus());
    else if (key === "-" || key === "_") this.camera.zoom(0.5, ...this.focus());
    else if (key === "0" || key === "Home") this.camera.fit();
    else if (steps[key] && shift) this.camera.move(-steps[key][1] * 0.25 * this.camera.width, -steps[key][0] * 0.25 * this.camera.height);
    else if (steps[key]) this.step(steps[key]);
    else if (key === "Enter" && this.cursor) this.options.chosen({ ...this.cursor, picture: this.arrangement.pictures[0] });
    else if (key === "Escape") this.cursor = null;
    else return false;
    this.changed();
    return true;
  }

  /** Where zooming by keys stays: at the cursor, where it is in sight. @returns {[number, number]} */
  focus() {
    const [top, left, bottom, right] = this.camera.sight;
    const cursor = this.cursor ?? this.start;
    if (!cursor || cursor.row < top || cursor.row > bottom || cursor.column < left || cursor.column > right) return [this.camera.width / 2, this.camera.height / 2];
    const { x, y } = this.placed(cursor.row, cursor.column);
    return [x, y];
  }

  /** @param {[number, number]} step */
  step([down, across]) {
    const [high, wide] = this.atlas.cells[this.camera.level];
    const [top, left, bottom, right] = this.camera.sight;
    const { start } = this;
    const near = start && start.row >= top && start.row < bottom && start.column >= left && start.column < right ? start : null;
    const from = this.cursor ?? near ?? { row: Math.floor((top + bottom) / 2), column: Math.floor((left + right) / 2) };
    const moved = this.cursor ? [down * high, across * wide] : [0, 0];
    this.cursor = { row: clamp(from.row + moved[0], 0, this.atlas.rows - 1), column: clamp(from.column + moved[1], 0, this.atlas.columns - 1) };
    const { row, column } = this.cursor;
    if (row < top || row >= bottom || column < left || column >= right) this.camera.center(row, column);
    this.options.pointed({ ...this.cursor, picture: this.arrangement.pictures[0] }, null);
  }
}

/** @param {[number, number, number, number][]} taken rectangles of x, y, width and height @param {number} x @param {number} y @param {number} width @param {number} height */
const overlaps = (taken, x, y, width, height) => taken.some(([left, top, across, down]) => left < x + width && left + across > x && top < y + height && top + down > y);

/** Whether dark letters stand out from a packed colour better than light ones. @param {number} colour */
function bright(colour) {
  const [red, green, blue] = [colour & 255, (colour >> 8) & 255, (colour >> 16) & 255];
  return 0.2126 * (red / 255) ** 2.2 + 0.7152 * (green / 255) ** 2.2 + 0.0722 * (blue / 255) ** 2.2 > 0.18;
}

/** As much of a text as there is room for, with an ellipsis in its middle. @param {CanvasRenderingContext2D} pen @param {string} text @param {number} room */
function fitted(pen, text, room) {
  if (widthOf(pen, text) <= room) return text;
  for (let length = Math.min(text.length - 2, 60); length >= 4; length -= 2) {
    const shorter = `${text.slice(0, Math.ceil(length / 2))}…${text.slice(-Math.floor(length / 2))}`;
    if (widthOf(pen, shorter) <= room) return shorter;
  }
  return "";
}
