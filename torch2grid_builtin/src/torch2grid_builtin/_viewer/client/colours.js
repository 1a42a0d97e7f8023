// Values to colours, as ColorScale and paint of torch2grid_core do it.

/**
 * The limits of a scale; *bend* is 0 for a linear one.
 * @typedef {{low: number, high: number, bend: number}} Scale
 * @typedef {[number, number, number]} Rgb
 * The colours of values beyond the limits, of NaN and Inf, and of cells without a weight.
 * @typedef {{over: Rgb, under: Rgb, lost: Rgb, empty: Rgb}} Signals
 * How values become pixels: the limits, 256 packed colours, and those of what is no place among them.
 * @typedef {{scale: Scale, lut: Uint32Array, over: number, under: number, lost: number, empty: number}} Colours
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

/** Pack a colour as a little-endian pixel. @param {ArrayLike<number>} rgb @returns {number} */
export const packedColour = (rgb) => ((255 << 24) | (rgb[2] << 16) | (rgb[1] << 8) | rgb[0]) >>> 0;

/** The 256 colours of a map, packed. @param {Uint8Array} map @returns {Uint32Array} */
export function packedMap(map) {
  return Uint32Array.from({ length: 256 }, (_, place) => packedColour(map.subarray(3 * place, 3 * place + 3)));
}

/** @param {Scale} scale @param {Uint32Array} lut @param {Signals} signals @returns {Colours} */
export function coloursOf(scale, lut, signals) {
  const [over, under, lost, empty] = [signals.over, signals.under, signals.lost, signals.empty].map(packedColour);
  return { scale, lut, over, under, lost, empty };
}

/**
 * Colour cells from *first* to before *last*: the same as paint of torch2grid_core.
 * @param {Uint32Array} pixels @param {Float32Array} values @param {Uint8Array} some @param {Colours} look @param {number} first @param {number} last
 */
export function paintCells(pixels, values, some, look, first = 0, last = values.length) {
  const { scale, lut, over, under, lost, empty } = look;
  const { low, high } = scale;
  const span = high - low;
  const bent = scale.bend > 0 ? fractionOf(scale) : null;
  for (let i = first; i < last; i++) {
    const value = values[i];
    if (!some[i]) pixels[i] = empty;
    else if (value > high) pixels[i] = value === Infinity ? lost : over;
    else if (value < low) pixels[i] = value === -Infinity ? lost : under;
    else if (value !== value) pixels[i] = lost;
    else {
      const place = Math.floor(256 * (bent ? bent(value) : (value - low) / span));
      pixels[i] = lut[place > 255 ? 255 : place < 0 ? 0 : place];
    }
  }
}

/** The packed colour of one value. @param {number} value @param {Colours} look @returns {number} */
export function colourOf(value, look) {
  const pixel = new Uint32Array(1);
  paintCells(pixel, new Float32Array([value]), new Uint8Array([1]), look);
  return pixel[0];
}

/** Let all but the cells that are picked be faint. @param {Uint32Array} pixels @param {Float32Array} values @param {Uint8Array} some @param {(value: number) => boolean} chosen */
export function fade(pixels, values, some, chosen) {
  for (let i = 0; i < values.length; i++) if (!some[i] || !chosen(values[i])) pixels[i] = (pixels[i] & 0xffffff) | (24 << 24);
}
