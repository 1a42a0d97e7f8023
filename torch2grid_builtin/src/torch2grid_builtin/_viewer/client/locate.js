// Back from a cell to its weights: the same as torch2grid_core's pictures/locate.py, block by block.

import { grouped } from "./format.js";

/**
 * A tensor's block of a layout: where it begins, its axes with their steps, and the rectangle of weights around it.
 * @typedef {{length: number, down: number, across: number, stride: number}} Dim
 * @typedef {{tensor: number, start: number, row: number, column: number, dims: Dim[], top: number, left: number, high: number, wide: number, size: number}} Block
 * The weights of one tensor in a cell.
 * @typedef {{tensor: number, first: number, last: number, count: number, parts: {start: number, down: number[], across: number[]}[]}} Weights
 */

/**
 * The blocks of a layout: of each its tensor, its first weight, its row and column, and of each axis length, step down and step across.
 * @param {number[][]} layout @returns {Block[]}
 */
export function blocksOf(layout) {
  return layout.map((numbers) => {
    const [tensor, start, row, column, ...moves] = numbers;
    /** @type {Dim[]} */
    const dims = [];
    for (let i = 0; i < moves.length; i += 3) dims.push({ length: moves[i], down: moves[i + 1], across: moves[i + 2], stride: 1 });
    for (let i = dims.length - 2; i >= 0; i--) dims[i].stride = dims[i + 1].stride * dims[i + 1].length;
    const bounds = { top: row, left: column, high: 1, wide: 1 };
    for (const dim of dims) {
      bounds.top += Math.min(dim.down, 0) * (dim.length - 1);
      bounds.left += Math.min(dim.across, 0) * (dim.length - 1);
      bounds.high += Math.abs(dim.down) * (dim.length - 1);
      bounds.wide += Math.abs(dim.across) * (dim.length - 1);
    }
    return { tensor, start, row, column, dims, ...bounds, size: dims.reduce((size, dim) => size * dim.length, 1) };
  });
}

/** @param {number} from @param {number} to @param {number} origin @param {Dim[]} dims @param {'down' | 'across'} direction @returns {number[]} */
function offsets(from, to, origin, dims, direction) {
  const moving = dims.filter((dim) => dim[direction]).sort((a, b) => Math.abs(b[direction]) - Math.abs(a[direction]));
  const found = [];
  for (let place = from; place < to; place++) {
    let left = place - origin;
    let offset = 0;
    for (const dim of moving) {
      const step = Math.abs(dim[direction]);
      const digit = Math.min(Math.floor(left / step), dim.length - 1);
      left -= digit * step;
      offset += (dim[direction] < 0 ? dim.length - 1 - digit : digit) * dim.stride;
    }
    if (left === 0) found.push(offset);
  }
  return found;
}

/**
 * The weights in a cell, by tensor. @param {Block[]} blocks @param {[number, number]} cell rows and columns of weights in a cell
 * @param {number} row @param {number} column @returns {Weights[]}
 */
export function weightsOf(blocks, cell, row, column) {
  /** @type {Map<number, Weights>} */
  const found = new Map();
  for (const block of blocks) {
    const rows = [Math.max(row * cell[0], block.top), Math.min((row + 1) * cell[0], block.top + block.high)];
    const columns = [Math.max(column * cell[1], block.left), Math.min((column + 1) * cell[1], block.left + block.wide)];
    if (rows[0] >= rows[1] || columns[0] >= columns[1] || !block.size) continue;
    const down = offsets(rows[0], rows[1], block.top, block.dims, "down");
    const across = offsets(columns[0], columns[1], block.left, block.dims, "across");
    if (!down.length || !across.length) continue;
    const first = block.start + least(down) + least(across);
    const last = block.start + most(down) + most(across);
    const known = found.get(block.tensor) ?? { tensor: block.tensor, first, last, count: 0, parts: [] };
    known.first = Math.min(known.first, first);
    known.last = Math.max(known.last, last);
    known.count += down.length * across.length;
    known.parts.push({ start: block.start, down, across });
    found.set(block.tensor, known);
  }
  return [...found.values()];
}

/**
 * Where a weight is on the map of one weight a cell. @param {Block[]} blocks those of its tensor @param {number} flat its flat index
 * @returns {{row: number, column: number} | null}
 */
export function placeOf(blocks, flat) {
  const block = blocks.find(({ start, size }) => start <= flat && flat < start + size);
  if (!block) return null;
  let { row, column } = block;
  let left = flat - block.start;
  for (const { stride, down, across } of block.dims) {
    const digit = Math.floor(left / stride);
    left -= digit * stride;
    row += digit * down;
    column += digit * across;
  }
  return { row, column };
}

/** @param {number[]} numbers */
const least = (numbers) => numbers.reduce((a, b) => Math.min(a, b), Infinity);
/** @param {number[]} numbers */
const most = (numbers) => numbers.reduce((a, b) => Math.max(a, b), -Infinity);

/** The index along each axis of a weight in the flat order. @param {number} index @param {number[]} shape @returns {number[]} */
export function unravel(index, shape) {
  const digits = [];
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    digits.unshift(index % shape[axis]);
    index = Math.floor(index / shape[axis]);
  }
  return digits;
}

/**
 * Where along a side which index of a weight is written, at in cells: a run is [first cell, first index, step, how many weights], and each counts anew; of
 * several, one that has room for its first tick alone has none. from and to: the cells in view. pixels: of a cell; apart: at least, between two ticks.
 * @param {[number, number, number, number][]} runs @param {number} cell weights in a cell @param {number} pixels @param {number} apart @param {number} from @param {number} to
 * @returns {{at: number, index: number}[]}
 */
export function indexTicks(runs, cell, pixels, apart, from, to) {
  const needed = Math.max((apart * cell) / pixels, 1);
  const power = 10 ** Math.floor(Math.log10(needed));
  const every = ([1, 2, 5].find((each) => each * power >= needed) ?? 10) * power;
  const found = [];
  for (const [start, first, step, count] of runs) {
    const end = start + Math.ceil(count / cell) - (runs.length > 1 ? apart / 2 / pixels : 0);
    const alone = every >= count || start + (every + 0.5) / cell > end;
    if (alone && count > 1 && runs.length > 1) continue;
    for (let place = Math.max(Math.ceil(((from - start) * cell) / every - 1), 0) * every; place < count; place += every) {
      const at = start + (place + 0.5) / cell;
      if (at > to || (place && at > end)) break;
      if (at >= from) found.push({ at, index: first + place * step });
    }
  }
  return found;
}

/**
 * The index in the whole tensor of a weight that has these digits in the part that was taken of it.
 * @param {number[]} digits @param {(number | number[])[] | null | undefined} taken @returns {number[]}
 */
export function placed(digits, taken) {
  if (!taken || taken.filter(Array.isArray).length !== digits.length) return digits;
  let next = 0;
  return taken.map((each) => (Array.isArray(each) ? each[0] + each[2] * digits[next++] : each));
}

const MOST_COMBINATIONS = 20000;

/**
 * Which weights these are, in words: one index, a range along each axis, or a run of the flat order.
 * @param {Weights} weights @param {number[] | null | undefined} shape @param {(number | number[])[] | null | undefined} taken @returns {string}
 */
export function indexText(weights, shape, taken) {
  const { first, last, count } = weights;
  if (!shape || shape.length === 0) {
    if (count === 1 && taken?.length) return `[${placed([], taken).join(", ")}]`;
    if (count === 1) return shape ? "the one number" : `weight ${grouped(first)}`;
    return `weights ${grouped(first)} … ${grouped(last)}${last - first + 1 === count ? "" : `, ${grouped(count)} of them`}`;
  }
  if (count === 1) return `[${placed(unravel(first, shape), taken).join(", ")}]`;
  if (count <= MOST_COMBINATIONS) {
    const low = shape.map(() => Infinity);
    const high = shape.map(() => -Infinity);
    for (const part of weights.parts) {
      for (const down of part.down) {
        for (const across of part.across) {
          unravel(part.start + down + across, shape).forEach((digit, axis) => {
            low[axis] = Math.min(low[axis], digit);
            high[axis] = Math.max(high[axis], digit);
          });
        }
      }
    }
    const box = low.reduce((size, from, axis) => size * (high[axis] - from + 1), 1);
    if (box === count) {
      const [from, to] = [placed(low, taken), placed(high, taken)];
      return `[${from.map((index, axis) => (index === to[axis] ? index : `${index}…${to[axis]}`)).join(", ")}]`;
    }
  }
  const [from, to] = [first, last].map((flat) => placed(unravel(flat, shape), taken).join(", "));
  return `[${from}] … [${to}]`;
}

/**
 * The lengths of a tensor's one block refine its shape, as do those of its bands: good enough to tell rows from columns.
 * @param {Block[]} blocks @param {number} tensor @returns {number[] | null}
 */
export function guessedShape(blocks, tensor) {
  const own = blocks.filter((block) => block.tensor === tensor);
  const long = own[0]?.dims.at(-1)?.length;
  if (long && own.length > 1 && own.every(({ start, dims }) => dims.length === 2 && dims[1].length === long && start % long === 0)) {
    return [own.reduce((rows, { dims }) => rows + dims[0].length, 0), long];
  }
  return own.length === 1 && own[0].start === 0 && own[0].dims.length > 1 && own[0].dims.length <= 3 ? own[0].dims.map((dim) => dim.length) : null;
}

/** The rows or columns of weights in a cell, in words. @param {number} cell @param {number} weights of a cell along the axis */
export function spanText(cell, weights) {
  return weights === 1 ? grouped(cell) : `${grouped(cell * weights)}…${grouped((cell + 1) * weights - 1)}`;
}
