// A map without a server: planes of the whole beside the page, and deeper cells from the file, by ranges of bytes or dropped here.

import { inflated, wordsOf } from "./decode.js";
import { blocksOf, unravel, weightsOf } from "./locate.js";
import { decoded, widthOf } from "./numbers.js";

/** @import { Block } from "./locate.js" */
/** @import { Cells, Rectangle } from "./tiles.js" */

const TRIED = 12; // cells that are compared with a file that was dropped
const MOST_BYTES = 48 << 20; // read for one tile, at most: above that, the coarser picture stays

/**
 * Add the numbers of a block from *first* digit to before *last* of its outermost axis to the cells of a rectangle.
 * @param {Block} block @param {number} first @param {number} last @param {Float64Array | Float32Array} values @param {{top: number, left: number, height: number, width: number, high: number, wide: number}} part
 * @param {{sum: Float64Array, squares: Float64Array, low: Float64Array, high: Float64Array, count: Int32Array}} into
 */
export function gathered(block, first, last, values, part, into) {
  const [outer, ...inner] = block.dims.length ? block.dims : [{ length: 1, down: 0, across: 0, stride: 1 }];
  let place = 0;
  const walk = (/** @type {number} */ axis, /** @type {number} */ row, /** @type {number} */ column) => {
    if (axis < inner.length) {
      const { length, down, across } = inner[axis];
      for (let digit = 0; digit < length; digit++) walk(axis + 1, row + digit * down, column + digit * across);
      return;
    }
    const value = values[place++];
    const r = Math.floor(row / part.high) - part.top;
    const c = Math.floor(column / part.wide) - part.left;
    if (r < 0 || c < 0 || r >= part.height || c >= part.width) return;
    const at = r * part.width + c;
    into.sum[at] += value;
    into.squares[at] += value * value;
    if (value < into.low[at] || value !== value) into.low[at] = value; // NaN stays: nothing is less
    if (value > into.high[at] || value !== value) into.high[at] = value;
    into.count[at]++;
  };
  for (let digit = first; digit < last; digit++) walk(0, block.row + digit * outer.down, block.column + digit * outer.across);
}

/** The digits of a block's outermost axis that can be in a rectangle of weights. @param {Block} block @param {number[]} rectangle top, left, bottom, right @returns {[number, number]} */
export function reaching(block, [top, left, bottom, right]) {
  const [outer] = block.dims;
  if (!outer || outer.length === 1) return [0, 1];
  const side = outer.down ? "down" : "across";
  const step = outer[side];
  const [low, reach] = side === "down" ? [block.top, block.high] : [block.left, block.wide];
  const own = reach - Math.abs(step) * (outer.length - 1); // of one digit
  const [near, far] = side === "down" ? [top, bottom] : [left, right];
  const from = Math.max(Math.ceil((near - low - own + 1) / Math.abs(step)), 0);
  const to = Math.min(Math.floor((far - 1 - low) / Math.abs(step)), outer.length - 1);
  if (from > to) return [0, 0];
  return step > 0 ? [from, to + 1] : [outer.length - 1 - to, outer.length - from];
}

export class Static {
  constructor() {
    /** @type {any} */
    this.about = null;
    /** @type {Map<string, Promise<Uint8Array>>} */
    this.planes = new Map();
    /** @type {Map<string, File>} */
    this.dropped = new Map();
    /** @type {Block[]} */
    this.blocks = [];
    this.changed = () => {};
  }

  async model() {
    const [about, planes] = await Promise.all(["model.json", "planes.bin"].map(async (name) => {
      const answer = await fetch(name);
      if (!answer.ok) throw new Error(`${name}: the server answers ${answer.status}`);
      return name === "model.json" ? answer.json() : answer.blob();
    }));
    this.about = about;
    this.packed = planes;
    this.blocks = about.map.blocks ? blocksOf(about.map.blocks) : [];
    return about;
  }

  /** A plane of a whole level. @param {number} picture @param {number} level @param {string} name */
  plane(picture, level, name) {
    const key = `${picture}/${level}/${name}`;
    let found = this.planes.get(key);
    if (!found) {
      const place = this.about.static.places.find((/** @type {any[]} */ each) => each[0] === picture && each[1] === level && each[2] === name);
      found = inflated(this.packed.slice(place[3], place[3] + place[4]));
      this.planes.set(key, found);
    }
    return found;
  }

  /** True where deeper cells can be read. */
  get deep() {
    return this.about.static.source !== null || this.dropped.size > 0;
  }

  /** @param {number} picture @param {number} level @param {Rectangle} rectangle @param {string[]} planes @param {AbortSignal} signal @returns {Promise<Cells>} */
  async cells(picture, level, [top, left, height, width], planes, signal) {
    const { map, static: about } = this.about;
    const [high, wide] = map.cells[level];
    const columns = Math.ceil(map.columns / wide);
    if (level < about.first) return this.read({ top, left, height, width, high, wide }, signal);
    const cut = (/** @type {Float32Array | Uint8Array} */ whole, /** @type {any} */ Made) => {
      const made = new Made(height * width);
      for (let r = 0; r < height; r++) made.set(whole.subarray((top + r) * columns + left, (top + r) * columns + left + width), r * width);
      return made;
    };
    /** @type {Record<string, Float32Array>} */
    const found = {};
    for (const name of planes) found[name] = cut(wordsOf(await this.plane(picture, level, name), Float32Array), Float32Array);
    return { height, width, planes: found, some: cut(await this.plane(picture, level, "some"), Uint8Array) };
  }

  /** Cells of the file itself. @param {{top: number, left: number, height: number, width: number, high: number, wide: number}} part @param {AbortSignal} signal @returns {Promise<Cells>} all planes: what is read says them all */
  async read(part, signal) {
    if (!this.deep) throw new Error("finer cells are in the file; drop it here to see them");
    const { map, static: about } = this.about;
    const size = part.height * part.width;
    const into = { sum: new Float64Array(size), squares: new Float64Array(size), low: new Float64Array(size).fill(Infinity), high: new Float64Array(size).fill(-Infinity), count: new Int32Array(size) };
    const rectangle = [part.top * part.high, part.left * part.wide, (part.top + part.height) * part.high, (part.left + part.width) * part.wide];
    const [top, left, bottom, right] = rectangle;
    const met = this.blocks.filter((block) => block.top < bottom && block.top + block.high > top && block.left < right && block.left + block.wide > left);
    let bytes = 0;
    const asked = met.map((block) => {
      const [first, last] = reaching(block, rectangle);
      const stored = about.stored[block.tensor];
      const width = widthOf(map.tensors[block.tensor][2]);
      const stride = block.dims[0]?.stride ?? 1;
      bytes += (last - first) * stride * width;
      return { block, first, last, stored, width, stride };
    });
    if (bytes > MOST_BYTES) throw new Error("too much to read for one tile");
    if (asked.some(({ stored, width }) => !stored || !width)) throw new Error("these numbers are stored in a way that this page does not read");
    await Promise.all(asked.map(async ({ block, first, last, stored, width, stride }) => {
      const offset = stored[1] + (block.start + first * stride) * width;
      const data = await this.bytes(stored[0], offset, (last - first) * stride * width, signal);
      gathered(block, first, last, decoded(data, map.tensors[block.tensor][2]), part, into);
    }));
    const some = Uint8Array.from(into.count, (count) => (count ? 1 : 0));
    /** @type {Record<string, (at: number) => number>} */
    const rules = { mean: (at) => into.sum[at] / into.count[at], rms: (at) => Math.sqrt(into.squares[at] / into.count[at]), min: (at) => into.low[at], max: (at) => into.high[at] };
    /** @type {Record<string, Float32Array>} */
    const found = {};
    for (const name of part.high * part.wide === 1 ? ["mean"] : this.about.planes) {
      const values = Float32Array.from(some, (one, at) => (one ? rules[name](at) : 0));
      found[part.high * part.wide === 1 ? "value" : name] = values;
    }
    return { height: part.height, width: part.width, planes: found, some };
  }

  /** Bytes of a file: of one that was dropped, else of the public one. @param {number} file @param {number} offset @param {number} length @param {AbortSignal} signal @returns {Promise<ArrayBuffer>} */
  async bytes(file, offset, length, signal) {
    const [name, size] = this.about.static.files[file];
    const own = this.dropped.get(name);
    if (own) return own.slice(offset, offset + length).arrayBuffer();
    const { source, files } = this.about.static;
    const address = files.length > 1 ? new URL(name, source).href : source;
    const answer = await fetch(address, { signal, headers: { Range: `bytes=${offset}-${offset + length - 1}` } });
    if (answer.status !== 206) throw new Error(`${name}: its server does not send parts of it (status ${answer.status})`);
    const total = /\/(\d+)$/.exec(answer.headers.get("content-range") ?? "");
    if (total && Number(total[1]) !== size) throw new Error(`${name}: has ${total[1]} bytes now, ${size} when this page was written`);
    const data = await answer.arrayBuffer();
    if (data.byteLength !== length) throw new Error(`${name}: ${data.byteLength} of ${length} bytes came`);
    return data;
  }

  /** Take files that a visitor dropped; nothing of them is sent anywhere. @param {Iterable<File>} files @returns {Promise<string>} what is wrong, or nothing */
  async drop(files) {
    const before = new Map(this.dropped);
    const known = new Map(this.about.static.files);
    for (const file of files) {
      const size = known.get(file.name) ?? [...known.values()].find((each) => known.size === 1 && each === file.size);
      if (size === undefined) return `${file.name} is not the file of this page: ${[...known.keys()].join(", ")}`;
      if (size !== file.size) return `${file.name} has ${file.size} bytes, the file of this page has ${size}`;
      this.dropped.set(known.has(file.name) ? file.name : [...known.keys()][0], file);
    }
    if (!(await this.agrees())) {
      this.dropped = before;
      return "this file has other numbers than the one that this page was made of";
    }
    this.changed();
    return "";
  }

  /** Whether some cells of the page are those of the files that were dropped: a name and a size say little. @returns {Promise<boolean>} */
  async agrees() {
    const { map, static: about } = this.about;
    const factor = map.cells[about.first][0] / map.cells[map.base][0];
    const [high, wide] = map.cells[about.first];
    const columns = Math.ceil(map.columns / wide);
    const inside = map.regions.flatMap((/** @type {[number, number[][]]} */ [tensor, rectangles]) => rectangles.map(([top, left, down, across]) => ({ tensor, row: Math.ceil(top / factor), column: Math.ceil(left / factor), bottom: top + down, right: left + across })))
      .filter((/** @type {any} */ each) => (each.row + 1) * factor <= each.bottom && (each.column + 1) * factor <= each.right && about.stored[each.tensor] && this.dropped.has(about.files[about.stored[each.tensor][0]][0]));
    const planes = await Promise.all(["min", "max"].map(async (name) => wordsOf(await this.plane(0, about.first, name), Float32Array)));
    for (let turn = 0; turn < Math.min(TRIED, inside.length); turn++) {
      const { row, column } = inside[Math.floor((turn * inside.length) / TRIED)] ?? inside[turn];
      const { planes: found } = await this.read({ top: row, left: column, height: 1, width: 1, high, wide }, new AbortController().signal);
      for (const [place, name] of ["min", "max"].entries()) {
        const [told, own] = [planes[place][row * columns + column], (found[name] ?? found.value)[0]];
        if (Number.isFinite(told) ? !(Math.abs(told - own) <= 2 ** -11 * Math.abs(told)) : !Object.is(told, own)) return false;
      }
    }
    return true;
  }

  /** @param {number} picture @param {number} level @param {number} row @param {number} column @param {AbortSignal} signal */
  async cell(picture, level, row, column, signal) {
    const { map } = this.about;
    const cell = map.cells[level];
    const found = weightsOf(this.blocks.filter((block) => block.top <= row * cell[0] + cell[0] && block.top + block.high >= row * cell[0]), cell, row, column);
    const tile = await this.cells(picture, level, [row, column, 1, 1], this.about.planes, signal);
    const at = 0;
    const names = tile.planes.value ? { mean: tile.planes.value } : tile.planes;
    const planes = Object.fromEntries(Object.entries(names).map(([name, values]) => [name, String(values[at])]));
    const weights = found.map(({ tensor, first, last, count }) => {
      const shape = map.tensors[tensor][1];
      const entry = { tensor, first: unravel(first, shape), last: unravel(last, shape), weights: count };
      return tile.planes.value ? { ...entry, value: String(tile.planes.value[at]) } : entry;
    });
    return { planes, count: found.reduce((sum, { count }) => sum + count, 0), weights };
  }

  /** Figures are of the first picture alone. @param {number} picture @param {number} tensor */
  async tensor(picture, tensor) {
    return { ...(picture ? {} : this.about.static.figures[tensor]), rows: null, columns: null, largest: [], not_finite: [] };
  }

  /** @param {number} picture @param {number} level @param {string} plane @param {string} kind */
  async limits(picture, level, plane, kind) {
    return this.about.static.limits[`${picture}/${level}/${plane}/${kind}`];
  }

  /** @param {number} picture @param {number} level @param {string} plane @param {string} kind */
  async kinds(picture, level, plane, kind) {
    const found = this.about.static.kinds[`${picture}/${level}/${plane}/${kind}`];
    return found.map((/** @type {any[]} */ [low, high, bend, map]) => ({ low, high, bend, map, counts: [0], edges: [low, high] }));
  }

  look() {}
}
