// Where one looks on a map: which weight is in the upper left corner, and how many device pixels a weight has.

import { clamp } from "./format.js";

const MOST = 160; // device pixels a weight, at most

/**
 * A map of rows × columns weights; cells: rows and columns of weights in a cell of each level, the finest first.
 * @typedef {{rows: number, columns: number, cells: [number, number][]}} Extent
 */

export class Camera {
  /** @param {Extent} extent */
  constructor(extent) {
    this.extent = extent;
    this.finest = 0; // the level below which there are no cells to see
    this.row = 0; // of the upper left corner, in weights
    this.column = 0;
    this.scale = 1; // device pixels a weight
    this.wanted = 1; // the same before it is rounded: many small steps of a pinch add up
    this.width = 1; // of the view, in device pixels
    this.height = 1;
  }

  /** Take the size of the view; what was in its middle stays there. @param {number} width @param {number} height */
  resize(width, height) {
    if (width === this.width && height === this.height) return;
    const fitted = Math.abs(this.scale - this.fitting()) < 1e-9;
    const middle = { row: this.row + this.height / 2 / this.scale, column: this.column + this.width / 2 / this.scale };
    this.width = Math.max(width, 1);
    this.height = Math.max(height, 1);
    if (fitted) this.fit();
    else this.center(middle.row, middle.column);
  }

  /** The scale at which all is seen. */
  fitting() {
    return Math.min((0.98 * this.width) / this.extent.columns, (0.98 * this.height) / this.extent.rows, MOST);
  }

  fit() {
    this.scale = this.fitting();
    this.center(this.extent.rows / 2, this.extent.columns / 2);
  }

  /** Put a place into the middle of the view. @param {number} row @param {number} column */
  center(row, column) {
    this.row = row - this.height / 2 / this.scale;
    this.column = column - this.width / 2 / this.scale;
    this.settle();
  }

  /** Zoom, with the weight under a point of the view staying there. @param {number} factor @param {number} x @param {number} y device pixels */
  zoom(factor, x = this.width / 2, y = this.height / 2) {
    const before = this.scale;
    if (Math.abs(this.wanted - before) > 0.5) this.wanted = before;
    this.wanted = clamp(this.wanted * factor, Math.min(this.fitting() / 2, MOST), MOST);
    this.scale = this.wanted;
    if (this.level === 0 && this.scale > 2) this.scale = Math.round(this.scale); // cells of one size
    this.column += x / before - x / this.scale;
    this.row += y / before - y / this.scale;
    this.settle();
  }

  /** Move by device pixels. @param {number} x @param {number} y */
  move(x, y) {
    this.column -= x / this.scale;
    this.row -= y / this.scale;
    this.settle();
  }

  /** Show a rectangle as large as it fits. @param {[number, number, number, number]} rectangle in weights */
  show([top, left, height, width]) {
    this.scale = Math.min((0.9 * this.width) / width, (0.9 * this.height) / height, MOST);
    if (this.scale > 2) this.scale = Math.floor(this.scale);
    this.center(top + height / 2, left + width / 2);
  }

  /** Keep the map in sight: in the middle where all of it is seen, else with some of it there. Whole device pixels, so that cells have sharp edges. */
  settle() {
    const { rows, columns } = this.extent;
    const high = this.height / this.scale;
    const wide = this.width / this.scale;
    const all = high >= rows && wide >= columns;
    this.row = all ? (rows - high) / 2 : clamp(this.row, -high / 2, rows - high / 2);
    this.column = all ? (columns - wide) / 2 : clamp(this.column, -wide / 2, columns - wide / 2);
    this.row = Math.round(this.row * this.scale) / this.scale;
    this.column = Math.round(this.column * this.scale) / this.scale;
  }

  /** The level whose cells are the smallest of one device pixel or more. */
  get level() {
    const { cells } = this.extent;
    const found = cells.findIndex(([high, wide]) => Math.min(high, wide) * this.scale >= 0.999);
    return Math.max(found < 0 ? cells.length - 1 : found, this.finest);
  }

  /** The weight at a point of the view. @param {number} x @param {number} y device pixels */
  at(x, y) {
    return { row: Math.floor(this.row + y / this.scale), column: Math.floor(this.column + x / this.scale) };
  }

  /** The rectangle of weights in sight: top, left, bottom, right. @returns {[number, number, number, number]} */
  get sight() {
    const { rows, columns } = this.extent;
    return [
      Math.max(this.row, 0),
      Math.max(this.column, 0),
      Math.min(this.row + this.height / this.scale, rows),
      Math.min(this.column + this.width / this.scale, columns),
    ];
  }
}
