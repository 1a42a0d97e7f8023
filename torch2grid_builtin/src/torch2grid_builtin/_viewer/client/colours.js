// Values to colours, as ColorScale and paint of torch2grid_core do it.

import { clamp } from "./format.js";

/**
 * The limits of a scale; *bend* is 0 for a linear one.
 * @typedef {{low: number, high: number, bend: number}} Scale
 * @typedef {[number, number, number]} Rgb
 * The colours of values beyond the limits, of NaN and Inf, and of cells without a weight.
 * @typedef {{over: Rgb, under: Rgb, lost: Rgb, empty: Rgb}} Signals
 */

/**
 * As ColorScale.fraction: 0 at the low limit, 1 at the high one; a scale with a bend is linear near 0 and logarithmic far from it (asinh).
 * @param {Scale} scale @returns {(value: number) => number}
 */
export function fractionOf(scale) {
  const bend = scale.bend ? (/** @type {number} */ value) => Math.asinh(value / scale.bend) : (/** @type {number} */ value) => value;
  const low = bend(scale.low);
  const span = bend(scale.high) - low;
  return (value) => (bend(value) - low) / span;
}

/**
 * Colour pixels, red, green, blue and opacity a cell. *countAt* says of how many weights a cell is; *chosen*, which values are picked: others are faint.
 * @param {Uint8ClampedArray} rgba @param {ArrayLike<number>} values @param {(index: number) => number} countAt
 * @param {Scale} scale @param {Uint8Array} map 256 colours of three bytes @param {Signals} signals @param {((value: number) => boolean) | null} chosen
 */
export function paint(rgba, values, countAt, scale, map, signals, chosen = null) {
  const fraction = fractionOf(scale);
  const { over, under, lost, empty } = signals;
  for (let i = 0; i < values.length; i++) {
    const value = values[i];
    let rgb = empty;
    let at = -1;
    if (countAt(i) > 0) {
      if (!Number.isFinite(value)) rgb = lost;
      else if (value > scale.high) rgb = over;
      else if (value < scale.low) rgb = under;
      else at = 3 * clamp(Math.floor(256 * fraction(value)), 0, 255);
    }
    rgba[4 * i] = at < 0 ? rgb[0] : map[at];
    rgba[4 * i + 1] = at < 0 ? rgb[1] : map[at + 1];
    rgba[4 * i + 2] = at < 0 ? rgb[2] : map[at + 2];
    rgba[4 * i + 3] = !chosen || (countAt(i) > 0 && chosen(value)) ? 255 : 24;
  }
}
