// Tiles of a map: asked for when they are in sight, kept while there is room, and painted into a canvas of one pixel a cell.

import { paintCells } from "./colours.js";
import { clamp } from "./format.js";

/**
 * Cells of a tile: planes by reduction, and where there are weights.
 * @typedef {{height: number, width: number, planes: Record<string, Float32Array>, some: Uint8Array}} Cells
 * Cells of a level: top, left, height, width.
 * @typedef {[number, number, number, number]} Rectangle
 * Where cells come from. *signal* says that nobody waits any more; whole: nothing of it is missing any more.
 * @typedef {{cells(picture: number, level: number, rectangle: Rectangle, planes: string[], signal: AbortSignal): Promise<Cells>}} Provider
 * @typedef {{cells: Cells | null, painted: HTMLCanvasElement | null, stamp: string, asked: AbortController | null, dirty: Rectangle | null, used: number, failed: boolean}} Tile
 * How values of a plane become colours; kinds: those of each kind of tensor. stamp: differs where anything of it does.
 * @typedef {import("./colours.js").Colours & {plane: string, stamp: string, kinds?: Look[]}} Look
 * A rectangle of a tile's cells that is of one kind.
 * @typedef {{kind: number, top: number, left: number, bottom: number, right: number}} Part
 */

const KEPT_BYTES = 160 << 20; // of cells and pixels, beside those in sight

/**
 * Cells as the server sends them: planes one after the other, then a byte a cell. One weight a cell has one plane.
 * @param {ArrayBuffer} bytes @param {Rectangle} rectangle @param {string[]} planes @param {boolean} finest @returns {Cells}
 */
export function shaped(bytes, [, , height, width], planes, finest) {
  const asked = finest ? ["mean"] : planes;
  const size = height * width;
  /** @type {Record<string, Float32Array>} */
  const found = {};
  asked.forEach((name, place) => {
    found[finest ? "value" : name] = new Float32Array(bytes, 4 * place * size, size);
  });
  return { height, width, planes: found, some: new Uint8Array(bytes, 4 * asked.length * size, size) };
}

/** Put cells into others at a place. @param {Cells} into @param {Cells} from @param {number} top @param {number} left */
export function patch(into, from, top, left) {
  for (let row = 0; row < from.height; row++) {
    const [place, start] = [(top + row) * into.width + left, row * from.width];
    into.some.set(from.some.subarray(start, start + from.width), place);
    for (const [name, plane] of Object.entries(from.planes)) into.planes[name]?.set(plane.subarray(start, start + from.width), place);
  }
}

/**
 * Colour the cells of a tile, each part with the scale of its kind; smaller tensors hide larger ones, as in the cells themselves.
 * @param {Uint32Array} pixels @param {Float32Array} values @param {Uint8Array} some @param {Look} look @param {Part[]} parts larger ones first @param {number} width
 */
export function paintParts(pixels, values, some, look, parts, width) {
  pixels.fill(look.empty, 0, values.length);
  for (const { kind, top, left, bottom, right } of parts) {
    const own = look.kinds?.[kind] ?? look;
    for (let row = top; row < bottom; row++) paintCells(pixels, values, some, own, row * width + left, row * width + right);
  }
}

/** A plane of cells; at one weight a cell one plane says all. @param {Cells} cells @param {string} name @returns {Float32Array | undefined} */
export function planeOf(cells, name) {
  const found = cells.planes[name];
  if (found || !cells.planes.value) return found;
  const { value } = cells.planes;
  cells.planes[name] = name === "rms" ? value.map(Math.abs) : value;
  return cells.planes[name];
}

/** The rectangle around two. @param {Rectangle | null} one @param {Rectangle | null} other @returns {Rectangle | null} */
export function joined(one, other) {
  if (!one || !other) return one ?? other;
  const [top, left] = [Math.min(one[0], other[0]), Math.min(one[1], other[1])];
  return [top, left, Math.max(one[0] + one[2], other[0] + other[2]) - top, Math.max(one[1] + one[3], other[1] + other[3]) - left];
}

export class Tiles {
  /**
   * @param {Provider} provider @param {{rows: number, columns: number, cells: [number, number][], tile: number}} extent
   * @param {(more: "" | "tiles" | "parts") => void} changed called when there is something new to draw; more: what else is on its way, whole tiles or parts of those that are there
   */
  constructor(provider, extent, changed) {
    this.provider = provider;
    this.extent = extent;
    this.changed = changed;
    /** @type {Map<string, Tile>} */
    this.kept = new Map();
    this.turn = 0;
    this.requests = 0;
    /** @type {string[]} planes that there are */
    this.all = [];
    /** @type {string[]} planes that are shown */
    this.shown = [];
    /** @type {{picture: number, level: number, row: number, column: number}[]} */
    this.wished = [];
    this.places = "";
    this.ahead = false; // the other planes of what is in sight are asked for, too
    this.until = Infinity; // when to stop painting tiles, and leave the others to the next frame
    this.late = false;
    this.scratch = /** @type {ImageData | null} */ (null);
    /** @type {Set<number>} pictures of which nothing is missing any more */
    this.whole = new Set();
    /** @type {Map<number, Rectangle[]>} what was read of the others, in cells of the base */
    this.read = new Map();
    this.base = Infinity; // the finest level that is filled bit by bit
  }

  /** How many cells a level has. @param {number} level @returns {[number, number]} */
  shape(level) {
    const [high, wide] = this.extent.cells[level];
    return [Math.ceil(this.extent.rows / high), Math.ceil(this.extent.columns / wide)];
  }

  /** The tiles of a level in a rectangle of weights, nearest to its middle first. @param {number} level @param {[number, number, number, number]} sight */
  within(level, [top, left, bottom, right]) {
    const [high, wide] = this.extent.cells[level];
    const { tile } = this.extent;
    const [rows, columns] = this.shape(level);
    const range = (/** @type {number} */ from, /** @type {number} */ to, /** @type {number} */ count) =>
      [clamp(Math.floor(from / tile), 0, count), clamp(Math.ceil(to / tile), 0, count)];
    const [first, last] = range(top / high, bottom / high, Math.ceil(rows / tile));
    const [near, far] = range(left / wide, right / wide, Math.ceil(columns / tile));
    const found = [];
    for (let row = first; row < last; row++) for (let column = near; column < far; column++) found.push({ row, column });
    const middle = { row: (first + last - 1) / 2, column: (near + far - 1) / 2 };
    const apart = (/** @type {{row: number, column: number}} */ each) => (each.row - middle.row) ** 2 + (each.column - middle.column) ** 2;
    return found.sort((a, b) => apart(a) - apart(b));
  }

  /** The cells of a tile. @param {number} level @param {number} row @param {number} column @returns {Rectangle} */
  rectangle(level, row, column) {
    const { tile } = this.extent;
    const [rows, columns] = this.shape(level);
    return [row * tile, column * tile, Math.min(tile, rows - row * tile), Math.min(tile, columns - column * tile)];
  }

  /** @param {number} picture @param {number} level @param {number} row @param {number} column */
  key(picture, level, row, column) {
    return `${picture}/${level}/${row}/${column}`;
  }

  /** A tile if it is there. @param {number} picture @param {number} level @param {number} row @param {number} column */
  get(picture, level, row, column) {
    const found = this.kept.get(this.key(picture, level, row, column));
    return found?.cells ? found : undefined;
  }

  /**
   * Ask for the tiles that are wanted and not there, and forget requests for others.
   * @param {{picture: number, level: number, row: number, column: number}[]} wanted @param {string[]} planes
   */
  want(wanted, planes) {
    this.turn++;
    const places = wanted.map(({ picture, level, row, column }) => this.key(picture, level, row, column)).join();
    if (places !== this.places) this.ahead = false;
    [this.places, this.wished, this.shown] = [places, wanted, planes];
    const keys = new Set();
    for (const { picture, level, row, column } of this.instead(wanted)) {
      const key = this.key(picture, level, row, column);
      keys.add(key);
      const known = this.kept.get(key);
      if (known) known.used = this.turn;
      const complete = known?.cells && planes.every((name) => planeOf(/** @type {Cells} */ (known.cells), name));
      if (known?.asked || known?.failed || (complete && !known?.dirty)) continue;
      this.ask(key, { picture, level, row, column }, planes);
    }
    for (const [key, tile] of this.kept) {
      if (!tile.asked || keys.has(key)) continue;
      tile.asked.abort();
      tile.asked = null;
      if (!tile.cells) this.kept.delete(key);
    }
    this.trim();
    if (this.ahead) this.complete();
  }

  /** What is wanted, with coarser tiles for those that cannot be had. @param {{picture: number, level: number, row: number, column: number}[]} wanted */
  instead(wanted) {
    const found = [...wanted];
    for (const { picture, level, row, column } of found) {
      const [fine, coarse] = [this.extent.cells[level], this.extent.cells[level + 1]];
      if (!coarse || !this.kept.get(this.key(picture, level, row, column))?.failed) continue;
      const above = { picture, level: level + 1, row: Math.floor((row * fine[0]) / coarse[0]), column: Math.floor((column * fine[1]) / coarse[1]) };
      if (!found.some((each) => each.picture === picture && each.level === above.level && each.row === above.row && each.column === above.column)) found.push(above);
    }
    return found;
  }

  /** Ask for the other planes of what is in sight, as soon as that is there: another one is likely to be chosen now. */
  prepare() {
    this.ahead = true;
    this.complete();
  }

  complete() {
    const wanted = this.wished;
    if (this.asking) return; // what arrives draws, and comes back here
    if (wanted.some(({ picture, level }) => level >= this.base && !this.whole.has(picture))) return; // all of them would come again and again
    for (const place of wanted) {
      const key = this.key(place.picture, place.level, place.row, place.column);
      const tile = this.kept.get(key);
      const { cells } = tile ?? {};
      const missing = cells ? this.all.filter((name) => !planeOf(cells, name)) : [];
      if (missing.length && !tile?.failed && !tile?.dirty) this.ask(key, place, missing);
    }
  }

  /** Whether any tile is on its way. */
  get asking() {
    return [...this.kept.values()].some((tile) => tile.asked);
  }

  /** Whether all planes of what was last wanted are there. @param {number} turn */
  completed(turn = this.turn) {
    return [...this.kept.values()].every((tile) => tile.used < turn || (!tile.asked && (tile.failed || (tile.cells !== null && this.all.every((name) => planeOf(/** @type {Cells} */ (tile.cells), name))))));
  }

  /** @param {string} key @param {{picture: number, level: number, row: number, column: number}} place @param {string[]} planes */
  async ask(key, { picture, level, row, column }, planes) {
    const whole = this.rectangle(level, row, column);
    const tile = this.kept.get(key) ?? this.blank(picture, level, whole, planes);
    this.kept.set(key, tile);
    const { cells, dirty } = tile;
    const part = cells && dirty;
    if (cells && !dirty && planes.every((name) => cells.planes[name])) return; // blank, and nothing of it was read yet
    const names = part ? Object.keys(cells.planes) : planes;
    const asked = new AbortController();
    tile.asked = asked;
    tile.dirty = null;
    this.requests++;
    try {
      const rectangle = /** @type {Rectangle} */ (part ? [whole[0] + dirty[0], whole[1] + dirty[1], dirty[2], dirty[3]] : whole);
      const found = await this.provider.cells(picture, level, rectangle, names, asked.signal);
      if (tile.asked !== asked) return; // others were asked for since
      if (part) patch(cells, found, dirty[0], dirty[1]);
      else if (cells) Object.assign(cells.planes, found.planes);
      if (!cells) tile.cells = found;
      if (part || !cells) tile.stamp = "";
    } catch {
      if (tile.asked === asked) tile.failed = !asked.signal.aborted;
      if (part) tile.dirty = joined(tile.dirty, dirty);
    }
    if (tile.asked === asked) tile.asked = null;
    if (!asked.signal.aborted && (part || names.some((name) => this.shown.includes(name)))) this.changed(!this.asking ? "" : part ? "parts" : "tiles");
  }

  /** A tile that is not there; one of a picture that is still being read is empty where nothing was read. @param {number} picture @param {number} level @param {Rectangle} whole @param {string[]} planes @returns {Tile} */
  blank(picture, level, whole, planes) {
    /** @type {Tile} */
    const tile = { cells: null, painted: null, stamp: "", asked: null, dirty: null, used: this.turn, failed: false };
    if (level < this.base || this.whole.has(picture)) return tile;
    const [, , height, width] = whole;
    const empty = () => new Float32Array(height * width);
    tile.cells = { height, width, planes: Object.fromEntries(planes.map((name) => [name, empty()])), some: new Uint8Array(height * width) };
    for (const each of this.read.get(picture) ?? []) tile.dirty = joined(tile.dirty, this.met(level, whole, each));
    return tile;
  }

  /** What of a tile rectangles of the base are in, in cells of the tile; null for nothing. @param {number} level @param {Rectangle} whole @param {Rectangle} cells @returns {Rectangle | null} */
  met(level, whole, cells) {
    const [high, wide] = this.extent.cells[level];
    const [r, c] = this.extent.cells[this.base];
    const top = clamp(Math.floor((cells[0] * r) / high) - whole[0], 0, whole[2]);
    const left = clamp(Math.floor((cells[1] * c) / wide) - whole[1], 0, whole[3]);
    const bottom = clamp(Math.ceil(((cells[0] + cells[2]) * r) / high) - whole[0], 0, whole[2]);
    const right = clamp(Math.ceil(((cells[1] + cells[3]) * c) / wide) - whole[1], 0, whole[3]);
    return bottom > top && right > left ? [top, left, bottom - top, right - left] : null;
  }

  /** Hear that rectangles of the base were read. @param {number} picture @param {Rectangle[]} cells */
  refresh(picture, cells) {
    const known = this.read.get(picture);
    if (known) known.push(...cells);
    else this.read.set(picture, [...cells]);
    for (const [key, tile] of this.kept) {
      const [of, level, row, column] = key.split("/").map(Number);
      if (of !== picture || level < this.base) continue;
      const whole = this.rectangle(level, row, column);
      for (const each of cells) tile.dirty = joined(tile.dirty, this.met(level, whole, each));
    }
  }

  /** The tile as pixels, one a cell. @param {Tile} tile @param {Look} look @param {() => Part[]} parts which of it is of which kind @returns {HTMLCanvasElement | null} */
  painted(tile, look, parts) {
    if (!tile.cells) return null;
    if (tile.stamp === look.stamp && tile.painted) return tile.painted;
    const { height, width, some } = tile.cells;
    const values = planeOf(tile.cells, look.plane);
    if (!values) return tile.painted;
    if (performance.now() > this.until) {
      this.late = true;
      return tile.painted;
    }
    const canvas = tile.painted ?? document.createElement("canvas");
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    if (this.scratch?.width !== width || this.scratch.height !== height) this.scratch = context.createImageData(width, height);
    const pixels = new Uint32Array(this.scratch.data.buffer);
    if (look.kinds) paintParts(pixels, values, some, look, parts(), width);
    else paintCells(pixels, values, some, look);
    context.putImageData(this.scratch, 0, 0);
    tile.painted = canvas;
    tile.stamp = look.stamp;
    return canvas;
  }

  trim() {
    const held = (/** @type {Tile} */ { cells }) => (cells ? (5 + 4 * Object.keys(cells.planes).length) * cells.some.length : 0);
    const old = [...this.kept].filter(([, tile]) => !tile.asked && tile.used < this.turn).sort((a, b) => b[1].used - a[1].used);
    let bytes = 0;
    for (const [key, tile] of old) {
      bytes += held(tile);
      if (bytes > KEPT_BYTES) this.kept.delete(key);
    }
  }

  /** Ask again for what could not be had. */
  retry() {
    for (const tile of this.kept.values()) tile.failed = false;
    this.changed("");
  }

  /** Forget all tiles, as the pictures are others now. */
  forget() {
    for (const tile of this.kept.values()) tile.asked?.abort();
    this.kept.clear();
  }
}
