// Thin lines between the regions of a heatmap, and their names where there is room.

import { widthOf } from "./elements.js";

/** @import { Place, Viewer } from "./viewer.js" */

const COVERED = 0.05; // of a region's area, at most, lies under its name
const LEAST_ACROSS = 4; // pixels; a line around less would hide what it marks off

/**
 * Rectangles of cells [row, column, height, width] with a name; *heads* are the labels that a grid keeps room for, *marks* parts of tensors.
 * @typedef {[number, number, number, number]} Rect
 * @typedef {[string, Rect[]]} Named
 * @typedef {{shape: [number, number], regions: Named[], heads: Named[], marks: Named[], boundaries: boolean, labels: boolean}} Regions
 * @typedef {[number, number, number]} Run
 * @typedef {{least: number, above: Run[], left: Run[]}} Borders
 */

/**
 * Where neighbouring cells belong to different regions, as runs [line, from, to]: above a row, left of a column.
 * @param {Regions} panel @param {Int32Array | null} owners @returns {Borders}
 */
function borderRuns(panel, owners) {
  const [rows, columns] = panel.shape;
  const owner = owners ?? new Int32Array(rows * columns).fill(-1);
  for (const [region, [, rects]] of owners ? [] : panel.regions.entries()) {
    for (const [top, left, high, wide] of rects) {
      for (let row = top; row < Math.min(top + high, rows); row++) owner.fill(region, row * columns + left, row * columns + Math.min(left + wide, columns));
    }
  }
  const runs = (/** @type {number} */ lines, /** @type {number} */ length, /** @type {(line: number, place: number) => boolean} */ differs) => {
    /** @type {Run[]} */
    const found = [];
    for (let line = 1; line < lines; line++) {
      let from = -1;
      for (let place = 0; place <= length; place++) {
        const edge = place < length && differs(line, place);
        if (edge && from < 0) from = place;
        if (!edge && from >= 0) {
          found.push([line, from, place]);
          from = -1;
        }
      }
    }
    return found;
  };
  return {
    least: owners ? 0 : LEAST_ACROSS, // the slanting outlines of regions of any form are steps of a cell
    above: runs(rows, columns, (row, column) => owner[row * columns + column] !== owner[(row - 1) * columns + column]),
    left: runs(columns, rows, (column, row) => owner[row * columns + column] !== owner[row * columns + column - 1]),
  };
}

/**
 * What draws the borders and names of a panel's regions over its cells. *owners* holds the region of each cell, where regions are of any form.
 * @param {Regions} panel @param {Int32Array | null} owners @param {boolean} compact
 * @returns {(context: CanvasRenderingContext2D, viewer: Viewer, first: Place, last: Place) => void}
 */
export function regionMarks(panel, owners, compact) {
  /** @type {Borders | null} */
  let runs = null;
  return (context, viewer, first, last) => {
    if (panel.boundaries) {
      runs ??= borderRuns(panel, owners);
      drawBorders(runs, context, viewer, first, last);
    }
    if (panel.labels && !compact) drawNames(panel, context, viewer, first, last);
    if (panel.marks.length && !compact) drawParts(panel, context, viewer, first, last);
    if (panel.heads.length && !compact) drawHeads(panel, context, viewer, first, last);
  };
}

/** @param {Borders} runs @param {CanvasRenderingContext2D} context @param {Viewer} viewer @param {Place} first @param {Place} last */
function drawBorders(runs, context, { cellWidth, cellHeight, ratio }, first, last) {
  const line = Math.max(1, Math.round(ratio));
  context.fillStyle = "rgba(20, 26, 33, .5)";
  for (const [row, from, to] of runs.above) {
    if (row < first.row || row > last.row || to < first.column || from > last.column) continue;
    if ((to - from) * cellWidth >= runs.least * ratio) context.fillRect(from * cellWidth, row * cellHeight, (to - from) * cellWidth, line);
  }
  for (const [column, from, to] of runs.left) {
    if (column < first.column || column > last.column || to < first.row || from > last.row) continue;
    if ((to - from) * cellHeight >= runs.least * ratio) context.fillRect(column * cellWidth, from * cellHeight, line, (to - from) * cellHeight);
  }
}

/**
 * A thin line where each marked part of a tensor begins, and its text in the lower left corner where there is room.
 * @param {Regions} panel @param {CanvasRenderingContext2D} context @param {Viewer} viewer @param {Place} first @param {Place} last
 */
function drawParts(panel, context, viewer, first, last) {
  const { cellWidth, cellHeight, ratio } = viewer;
  const line = Math.max(1, Math.round(ratio));
  context.font = `${12 * ratio}px system-ui, sans-serif`;
  context.textBaseline = "top";
  context.textAlign = "left";
  for (const [name, rects] of panel.marks) {
    for (const [index, [top, left, high, wide]] of rects.entries()) {
      if (top >= last.row || top + high <= first.row || left >= last.column || left + wide <= first.column) continue;
      const [x, y, across, down] = [left * cellWidth, top * cellHeight, wide * cellWidth, high * cellHeight];
      if (Math.min(across, down) < 4 * ratio) continue;
      context.fillStyle = "rgba(20, 26, 33, .5)";
      context.fillRect(x, y, across, line);
      context.fillRect(x, y, line, down);
      const long = widthOf(context, name) + 8 * ratio;
      if (!name || index || long > across || down < 24 * ratio || long * 17 * ratio > 0.15 * across * down) continue;
      context.fillStyle = "rgba(255, 255, 255, .88)";
      context.fillRect(x + 3 * ratio, y + down - 20 * ratio, long, 17 * ratio);
      context.fillStyle = "#1b2330";
      context.fillText(name, x + 7 * ratio, y + down - 18 * ratio);
    }
  }
}

/** @param {Regions} panel @param {CanvasRenderingContext2D} context @param {Viewer} viewer @param {Place} first @param {Place} last */
function drawNames(panel, context, viewer, first, last) {
  const { cellWidth, cellHeight, ratio } = viewer;
  const inView = (/** @type {Rect} */ [top, left, high, wide]) => top < last.row && top + high > first.row && left < last.column && left + wide > first.column;
  context.font = `${12 * ratio}px system-ui, sans-serif`;
  context.textBaseline = "top";
  context.textAlign = "left";
  for (const [name, rects] of panel.regions) {
    const seen = rects.filter(inView);
    if (!seen.length) continue;
    const [top, left, high, wide] = seen.reduce((a, b) => (a[2] * a[3] >= b[2] * b[3] ? a : b));
    const room = { width: wide * cellWidth, height: high * cellHeight };
    if (room.height < 22 * ratio || room.width < 24 * ratio) continue;
    const text = widthOf(context, name);
    const box = { width: text + 8 * ratio, height: 17 * ratio };
    if (box.width > room.width || box.width * box.height > COVERED * room.width * room.height) continue;
    const x = Math.max(left * cellWidth, viewer.x) + 3 * ratio;
    const y = Math.max(top * cellHeight, viewer.y) + 3 * ratio;
    if (x + box.width > (left + wide) * cellWidth || y + box.height > (top + high) * cellHeight) continue;
    context.fillStyle = "rgba(255, 255, 255, .88)";
    context.fillRect(x, y, box.width, box.height);
    context.fillStyle = "#1b2330";
    context.fillText(name, x + 4 * ratio, y + 2 * ratio);
  }
}

/**
 * Modules, their matrices and the numbers of layers, where the grid keeps room for them; over the cells where it is too little.
 * @param {Regions} panel @param {CanvasRenderingContext2D} context @param {Viewer} viewer @param {Place} first @param {Place} last
 */
function drawHeads(panel, context, viewer, first, last) {
  const { cellWidth, cellHeight, ratio } = viewer;
  const line = 15 * ratio;
  /** @type {Rect[]} */
  const written = [];
  context.font = `bold ${11 * ratio}px system-ui, sans-serif`;
  context.textBaseline = "top";
  context.textAlign = "left";
  for (const [title, rects] of panel.heads) {
    for (const [top, left, high, wide] of rects) {
      if (top >= last.row || top + high <= first.row || left >= last.column || left + wide <= first.column) continue;
      const text = headText(context, title, Math.max(wide * cellWidth - 4 * ratio, 24 * ratio), 44 * ratio);
      /** @type {Rect} */
      const box = [left * cellWidth, top * cellHeight, widthOf(context, text) + 4 * ratio, line];
      const covers = (/** @type {Rect} */ [x, y, across, down]) => box[0] < x + across && x < box[0] + box[2] && box[1] < y + down && y < box[1] + box[3];
      const above = written.find(covers);
      if (above) box[1] = above[1] + above[3]; // of the first layer, below the head
      if (!text || (above && (box[1] > top * cellHeight + line || written.some(covers)))) continue;
      written.push(box);
      context.fillStyle = "rgba(255, 255, 255, .88)";
      if (box[2] > wide * cellWidth || line > high * cellHeight) context.fillRect(...box);
      context.fillStyle = "#1b2330";
      context.fillText(text, box[0] + 2 * ratio, box[1] + 2 * ratio);
    }
  }
}

/**
 * A name as far as there is room: whole, without ".weight", or its last parts; of a numbered one with little room the number.
 * @param {CanvasRenderingContext2D} context @param {string} title @param {number} room @param {number} little
 */
function headText(context, title, room, little) {
  const parts = title.replace(/\.weight$/, "").split(".");
  const last = parts[parts.length - 1];
  const number = room < little && /^\d+$/.test(last) ? [last] : [];
  const tried = [...number, title, ...parts.map((_, skip) => (skip ? "…" : "") + parts.slice(skip).join("."))];
  return tried.find((text) => widthOf(context, text) <= room) ?? "";
}
