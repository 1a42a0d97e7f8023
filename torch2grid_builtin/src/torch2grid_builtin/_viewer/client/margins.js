// Beside a heatmap: bars for the rows and columns, and names of rows; all follow the zoom.

/** @import { Frame, Place, Viewer } from "./viewer.js" */
import { color } from "./elements.js";
import { brief, clamp, numeric } from "./format.js";

const BARS = 44;
const MARGIN_GAP = 6;

/**
 * Bars beside the cells: what they measure, and the names of the longest.
 * @typedef {{label: string, values: any[], names: string[]}} Marginal
 * @typedef {{row_names?: [number, string][], row_marginal?: Marginal, column_marginal?: Marginal}} Margins
 */

/** The pixels that bars and names take above and beside the cells. @param {Margins} panel */
export function marginSizes(panel) {
  const longest = (panel.row_names ?? []).reduce((length, [, name]) => Math.max(length, name.length), 0);
  return {
    above: panel.column_marginal ? BARS + MARGIN_GAP : 0,
    beside: panel.row_marginal ? BARS + MARGIN_GAP + 10 : 0,
    names: longest ? clamp(longest * 6.2 + 12, 30, 200) : 0,
  };
}

/**
 * Draw bars and names around the cells in view. *lost* is the colour of NaN and Inf.
 * @param {Margins} panel @param {number[]} lost @param {CanvasRenderingContext2D} context @param {Viewer} viewer @param {Frame} frame
 * @param {Place} first @param {Place} last
 */
export function frameMarks(panel, lost, context, viewer, frame, first, last) {
  const { ratio, cellWidth, cellHeight } = viewer;
  const [bar, muted] = ["--bar", "--muted"].map((name) => color(name, viewer.canvas)); // looked up once: bars are drawn by the thousand
  context.font = `${11 * ratio}px system-ui, sans-serif`;
  if (panel.column_marginal) {
    const { values } = panel.column_marginal;
    const top = largestOf(values);
    const base = frame.y - MARGIN_GAP * ratio;
    for (let column = first.column; column < last.column; column++) {
      const tall = barLength(values[column], top) * ratio;
      const from = Math.max(frame.x + column * cellWidth - viewer.x, frame.x);
      const to = Math.min(frame.x + (column + 1) * cellWidth - viewer.x, frame.x + frame.width);
      fillBar(context, values[column], bar, lost, from, base - tall, to - from, tall, ratio);
    }
    marginText(context, muted, brief(top), viewer.left * ratio - 6 * ratio, base - BARS * ratio, "right", ratio);
  }
  if (panel.row_marginal) {
    const { values } = panel.row_marginal;
    const top = largestOf(values);
    const start = frame.x + Math.min(frame.width, viewer.columns * cellWidth - viewer.x) + MARGIN_GAP * ratio;
    for (let row = first.row; row < last.row; row++) {
      const from = Math.max(frame.y + row * cellHeight - viewer.y, frame.y);
      const to = Math.min(frame.y + (row + 1) * cellHeight - viewer.y, frame.y + frame.height);
      const long = barLength(values[row], top) * ratio;
      fillBar(context, values[row], bar, lost, start, from, long, to - from, ratio);
    }
    marginText(context, muted, brief(top), start, frame.y - 15 * ratio, "left", ratio);
  }
  if (panel.row_names) {
    /** @type {number[]} */ const written = []; // the first of the names have the room
    context.fillStyle = muted;
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const [place, name] of panel.row_names) {
      const y = frame.y + place * cellHeight - viewer.y;
      if (y < frame.y || y > frame.y + frame.height || written.some((other) => Math.abs(other - y) < 14 * ratio)) continue;
      written.push(y);
      context.fillText(name, frame.x - 6 * ratio, y, (viewer.left - 8) * ratio);
    }
  }
}

const areNumbers = (/** @type {[number, string][]} */ names) => names.every(([, name]) => /^[\d.,]+$/.test(name));

/** Pixels below the cells that names of columns take: those that are no numbers are turned. @param {[number, string][] | undefined} names */
export function columnRoom(names) {
  if (!names) return 0;
  return areNumbers(names) ? 8 : clamp(Math.max(...names.map(([, name]) => name.length)) * 6.2 + 12, 30, 160);
}

/** Write the names of columns below the cells. @param {Viewer} viewer @param {CanvasRenderingContext2D} context @param {Frame} frame @param {number} base */
export function nameColumns(viewer, context, frame, base) {
  const { ratio, cellWidth } = viewer;
  const names = viewer.options.columnNames ?? [];
  const level = areNumbers(names);
  let end = -Infinity;
  for (const [place, name] of names) {
    const x = frame.x + place * cellWidth - viewer.x;
    const half = (level ? name.length * 3.4 + 4 : 7) * ratio;
    if (x < frame.x || x > frame.x + frame.width || x - half < end) continue;
    end = x + half;
    context.save();
    context.translate(x, base + 6 * ratio);
    if (!level) context.rotate(-Math.PI / 2);
    context.textAlign = level ? "center" : "right";
    context.textBaseline = level ? "top" : "middle";
    context.fillText(name, 0, 0, 150 * ratio);
    context.restore();
  }
}

/** What the bars are, for the legend. @param {Margins} panel @returns {string} */
export function marginNote(panel) {
  /** @type {[string, Marginal | undefined][]} */
  const both = [["row", panel.row_marginal], ["column", panel.column_marginal]];
  const sides = both.flatMap(([side, marginal]) => (marginal ? [{ side, ...marginal }] : []));
  if (!sides.length) return "";
  const largest = sides.filter(({ names }) => names.length).map(({ side, names }) => `; largest ${side}s: ${names.join(", ")}`);
  return `bars: ${sides.map(({ side, label }) => `${label} of each ${side}`).join(" and ")}, from 0${largest.join("")}`;
}

const largestOf = (/** @type {any[]} */ values) => Math.max(0, ...values.map(numeric).filter(Number.isFinite));

/** NaN and Inf have a bar of full length in their own colour. @param {any} value @param {number} top */
function barLength(value, top) {
  value = numeric(value);
  return Number.isFinite(value) ? (top ? (BARS * Math.max(value, 0)) / top : 0) : BARS;
}

/**
 * @param {CanvasRenderingContext2D} context @param {any} value @param {string} bar @param {number[]} lost
 * @param {number} x @param {number} y @param {number} width @param {number} height @param {number} ratio
 */
function fillBar(context, value, bar, lost, x, y, width, height, ratio) {
  context.fillStyle = Number.isFinite(numeric(value)) ? bar : `rgb(${lost.join(",")})`;
  context.fillRect(x, y, Math.max(width, Math.min(1, ratio)), Math.max(height, Math.min(1, ratio)));
}

/**
 * @param {CanvasRenderingContext2D} context @param {string} muted @param {string} text @param {number} x @param {number} y
 * @param {CanvasTextAlign} align @param {number} ratio
 */
function marginText(context, muted, text, x, y, align, ratio) {
  context.fillStyle = muted;
  context.textAlign = align;
  context.textBaseline = "top";
  context.fillText(text, x, y, 60 * ratio);
}
