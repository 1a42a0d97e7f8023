// Where tensors are on a map, in cells of its base: found by a grid of buckets, as ten thousand rectangles are too many to try.

/**
 * A rectangle of base cells that is of one tensor.
 * @typedef {{tensor: number, top: number, left: number, bottom: number, right: number, turn: number}} Place
 * @typedef {{rows: number, columns: number, cells: [number, number][], base: number, regions: [number, [number, number, number, number][]][]}} Mapped
 */

const BUCKETS = 96; // a side

/** @typedef {import("./outline.js").Entry} Entry */

export class Places {
  /** @param {Mapped} map */
  constructor(map) {
    this.cell = map.cells[map.base];
    const [rows, columns] = [Math.ceil(map.rows / this.cell[0]), Math.ceil(map.columns / this.cell[1])];
    this.high = Math.max(Math.ceil(rows / BUCKETS), 1);
    this.wide = Math.max(Math.ceil(columns / BUCKETS), 1);
    this.down = Math.max(Math.ceil(rows / this.high), 1);
    this.across = Math.max(Math.ceil(columns / this.wide), 1);
    /** @type {Place[][]} */
    this.buckets = Array.from({ length: this.down * this.across }, () => []);
    /** @type {Map<number, Place[]>} */
    this.of = new Map();
    this.turn = 0;
    for (const [tensor, rectangles] of map.regions) {
      for (const [top, left, height, width] of rectangles) {
        const place = { tensor, top, left, bottom: top + height, right: left + width, turn: 0 };
        const own = this.of.get(tensor);
        if (own) own.push(place);
        else this.of.set(tensor, [place]);
        this.met(top, left, place.bottom, place.right, (bucket) => void bucket.push(place));
      }
    }
  }

  /** Call *each* with the buckets that a rectangle is in, until it says true. @param {number} top @param {number} left @param {number} bottom @param {number} right @param {(bucket: Place[]) => boolean | void} each */
  met(top, left, bottom, right, each) {
    const [first, last] = [Math.max(Math.floor(top / this.high), 0), Math.min(Math.ceil(bottom / this.high), this.down)];
    const [near, far] = [Math.max(Math.floor(left / this.wide), 0), Math.min(Math.ceil(right / this.wide), this.across)];
    for (let row = first; row < last; row++) for (let column = near; column < far; column++) if (each(this.buckets[row * this.across + column])) return;
  }

  /** The number of the tensor whose rectangle a weight is in, −1 for none. @param {number} row @param {number} column of weights */
  tensorAt(row, column) {
    const [r, c] = [row / this.cell[0], column / this.cell[1]];
    const bucket = r < 0 || c < 0 || c >= this.across * this.wide ? undefined : this.buckets[Math.floor(r / this.high) * this.across + Math.floor(c / this.wide)];
    return bucket?.find(({ top, left, bottom, right }) => r >= top && r < bottom && c >= left && c < right)?.tensor ?? -1;
  }

  /** The rectangles that one of base cells meets. @param {number} top @param {number} left @param {number} bottom @param {number} right @returns {Place[]} */
  within(top, left, bottom, right) {
    const turn = ++this.turn;
    /** @type {Place[]} */
    const found = [];
    this.met(top, left, bottom, right, (bucket) => {
      for (const place of bucket) {
        if (place.turn === turn || place.top >= bottom || place.bottom <= top || place.left >= right || place.right <= left) continue;
        place.turn = turn;
        found.push(place);
      }
    });
    return found;
  }

  /** The rectangles that one of weights meets. @param {[number, number, number, number]} sight top, left, bottom, right */
  seen([top, left, bottom, right]) {
    const [high, wide] = this.cell;
    return this.within(top / high, left / wide, bottom / high, right / wide);
  }

  /** The rectangle of base cells around tensors. @param {Iterable<number>} tensors */
  around(tensors) {
    let [top, left, bottom, right] = [Infinity, Infinity, -Infinity, -Infinity];
    for (const tensor of tensors) {
      for (const each of this.of.get(tensor) ?? []) {
        top = Math.min(top, each.top);
        left = Math.min(left, each.left);
        bottom = Math.max(bottom, each.bottom);
        right = Math.max(right, each.right);
      }
    }
    return bottom > top ? { top, left, bottom, right } : null;
  }

  /** Whether no other tensor is in the rectangle around some. @param {{top: number, left: number, bottom: number, right: number}} around @param {Set<number>} tensors */
  alone({ top, left, bottom, right }, tensors) {
    let others = false;
    this.met(top, left, bottom, right, (bucket) => {
      others = bucket.some((each) => !tensors.has(each.tensor) && each.top < bottom && each.bottom > top && each.left < right && each.right > left);
      return others;
    });
    return !others;
  }
}

/**
 * Modules as rectangles: those of two tensors and more, with nothing else between these. Names say what a module is, not code.
 * @typedef {{entry: Entry, text: string, top: number, left: number, bottom: number, right: number}} Box
 * @param {Entry[]} tree @param {Places} places @param {number} all how many tensors there are @returns {Box[]} outer ones first
 */
export function boxesOf(tree, places, all) {
  /** @type {Box[]} */
  const found = [];
  const walk = (/** @type {Entry} */ entry) => {
    if (entry.tensor >= 0 || entry.tensors.length < 2) return;
    const around = entry.tensors.length < all ? places.around(entry.tensors) : null;
    const alike = Math.max(...entry.children.map((each) => each.alike));
    if (around && places.alone(around, new Set(entry.tensors))) found.push({ entry, text: `${entry.full}${alike > 1 ? ` ×${alike}` : ""}`, ...around });
    entry.children.forEach(walk);
  };
  tree.forEach(walk);
  return found;
}
