// Thin lines between the regions of a heatmap, and their names where there is room.

import { widthOf } from "./elements.js";

/** @import { Place, Viewer } from "./viewer.js" */

const COVERED = 0.12; // of a region's area, at most, lies under its name
const FULL = 16; // pixels across a region from which its lines are drawn in full; thinner ones fade, as lines alone would be seen
const LEAST_ACROSS = 4; // pixels; a line around less would hide what it marks off

/**
 * Rectangles of cells [row, column, height, width] with a name; *heads* are the labels that a grid keeps room for, *marks* parts of tensors.
 * @typedef {[number, number, number, number]} Rect
 * @typedef {[string, Rect[]]} Named
 * @typedef {{shape: [number, number], regions: Named[], heads: Named[], marks: Named[], boundaries: boolean, labels: boolean}} Regions
 * Which cells are NaN or Inf, by their index, and their colour.
 * @typedef {{at: (index: number) => boolean, colour: string}} Lost
 * A line from one place to another between two regions.
 * @typedef {[number, number, number, number, number]} Run
 * @typedef {{least: number, above: Run[], left: Run[]}} Borders
 * Regions that follow one another and are of one layer, with the rectangle around them.
 * @typedef {{name: string, members: number[], rects: Rect[], box: Rect}} Group
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
  const runs = (/** @type {number} */ lines, /** @type {number} */ length, /** @type {(line: number, place: number) => number} */ at, /** @type {number} */ back) => {
    /** @type {Run[]} */
    const found = [];
    for (let line = 1; line < lines; line++) {
      let from = 0;
      for (let place = 0; place < length; place++) {
        const [one, other] = [owner[at(line, place) - back], owner[at(line, place)]];
        const next = place + 1 < length ? at(line, place + 1) : -1;
        if (next >= 0 && owner[next] === other && owner[next - back] === one) continue;
        if (one !== other) found.push([line, from, place + 1, one, other]);
        from = place + 1;
      }
    }
    return found;
  };
  return {
    least: owners ? 0 : LEAST_ACROSS, // the slanting outlines of regions of any form are steps of a cell
    above: runs(rows, columns, (row, column) => row * columns + column, columns),
    left: runs(columns, rows, (column, row) => row * columns + column, 1),
  };
}

/** Layers whose regions follow one another and fill a rectangle together, but for the ends of rows. @param {Regions} panel @returns {Group[]} */
function groupsOf(panel) {
  /** @type {Group[]} */
  const found = [];
  for (const [region, [name, rects]] of panel.regions.entries()) {
    const layer = /^(?:.*?\.)??\d+(?=\.)/.exec(name)?.[0] ?? "";
    const last = found.at(-1);
    if (last && last.name === layer && layer) {
      last.members.push(region);
      last.rects.push(...rects);
    } else found.push({ name: layer, members: [region], rects: [...rects], box: [0, 0, 0, 0] });
  }
  return found.filter((group) => {
    if (group.members.length < 2) return false;
    group.box = around(group.rects);
    const area = group.rects.reduce((sum, [, , high, wide]) => sum + high * wide, 0);
    return area > 0.85 * (group.box[2] * group.box[3] - 2 * panel.shape[1]);
  });
}

/** The rectangle around others. @param {Rect[]} rects @returns {Rect} */
export function around(rects) {
  const [top, left, bottom, right] = rects.reduce(
    (found, [row, column, high, wide]) => [Math.min(found[0], row), Math.min(found[1], column), Math.max(found[2], row + high), Math.max(found[3], column + wide)],
    [Infinity, Infinity, 0, 0],
  );
  return [top, left, bottom - top, right - left];
}

/**
 * What draws the borders and names of a panel's regions over its cells. *owners* holds the region of each cell, where regions are of any form.
 * Cells that are *lost*, NaN or Inf, are drawn over the names that would hide them.
 * @param {Regions} panel @param {Int32Array | null} owners @param {boolean} compact @param {Lost} lost
 * @returns {(context: CanvasRenderingContext2D, viewer: Viewer, first: Place, last: Place) => void}
 */
export function regionMarks(panel, owners, compact, lost) {
  /** @type {Borders | null} */
  let runs = null;
  const groups = panel.labels && !owners && !panel.heads.length ? groupsOf(panel) : [];
  return (context, viewer, first, last) => {
    if (panel.boundaries) {
      runs ??= borderRuns(panel, owners);
      drawBorders(runs, strengths(panel, groups, owners, viewer), context, viewer, first, last);
    }
    if (compact) return;
    /** @type {Rect[]} */
    const written = [];
    if (panel.labels) drawNames(panel, groups, context, viewer, first, last, written);
    if (panel.marks.length) drawParts(panel, context, viewer, first, last, written);
    if (panel.heads.length) drawHeads(panel, context, viewer, first, last, written);
    for (const box of written) drawLost(panel, lost, context, viewer, box);
  };
}

/**
 * The lost cells under a name, over it; none where most are lost: those are seen around it.
 * @param {Regions} panel @param {Lost} lost @param {CanvasRenderingContext2D} context @param {Viewer} viewer @param {Rect} box in pixels, left first
 */
function drawLost(panel, lost, context, { cellWidth, cellHeight }, [x, y, across, down]) {
  const [rows, columns] = panel.shape;
  const [top, left] = [Math.max(Math.floor(y / cellHeight), 0), Math.max(Math.floor(x / cellWidth), 0)];
  const [bottom, right] = [Math.min(Math.ceil((y + down) / cellHeight), rows), Math.min(Math.ceil((x + across) / cellWidth), columns)];
  const found = [];
  for (let row = top; row < bottom; row++) for (let column = left; column < right; column++) if (lost.at(row * columns + column)) found.push([row, column]);
  if (2 * found.length > (bottom - top) * (right - left)) return;
  context.fillStyle = lost.colour;
  for (const [row, column] of found) context.fillRect(column * cellWidth, row * cellHeight, Math.max(cellWidth, 1), Math.max(cellHeight, 1));
}

/**
 * How strong a line between two regions is, 0…1: in full where one of them is wide enough on the page, or one of their layers.
 * @param {Regions} panel @param {Group[]} groups @param {Int32Array | null} owners @param {Viewer} viewer
 * @returns {(one: number, other: number) => number}
 */
function strengths(panel, groups, owners, { cellWidth, cellHeight, ratio }) {
  if (owners) return () => 1;
  const across = (/** @type {Rect[]} */ rects) => Math.max(0, ...rects.map(([, , high, wide]) => Math.min(high * cellHeight, wide * cellWidth))) / ratio;
  const own = panel.regions.map(([, rects]) => across(rects));
  /** @type {Map<number, [Group, number]>} */
  const layers = new Map(groups.flatMap((group) => group.members.map((region) => [region, [group, across([group.box])]])));
  return (one, other) => {
    const wide = Math.max(own[one] ?? 0, own[other] ?? 0);
    const [layer, next] = [layers.get(one), layers.get(other)];
    return Math.min(Math.max(wide, layer?.[0] === next?.[0] ? 0 : layer?.[1] ?? 0, layer?.[0] === next?.[0] ? 0 : next?.[1] ?? 0) / FULL, 1);
  };
}

/**
 * @param {Borders} runs @param {(one: number, other: number) => number} strength
 * @param {CanvasRenderingContext2D} context @param {Viewer} viewer @param {Place} first @param {Place} last
 */
function drawBorders(runs, strength, context, { cellWidth, cellHeight, ratio }, first, last) {
  const line = Math.max(1, Math.round(ratio));
  context.save();
  context.fillStyle = "rgb(20, 26, 33)";
  for (const [row, from, to, one, other] of runs.above) {
    if (row < first.row || row > last.row || to < first.column || from > last.column) continue;
    context.globalAlpha = 0.5 * strength(one, other);
    if ((to - from) * cellWidth >= runs.least * ratio) context.fillRect(from * cellWidth, row * cellHeight, (to - from) * cellWidth, line);
  }
  for (const [column, from, to, one, other] of runs.left) {
    if (column < first.column || column > last.column || to < first.row || from > last.row) continue;
    context.globalAlpha = 0.5 * strength(one, other);
    if ((to - from) * cellHeight >= runs.least * ratio) context.fillRect(column * cellWidth, from * cellHeight, line, (to - from) * cellHeight);
  }
  context.restore();
}

/**
 * A thin line where each marked part of a tensor begins, and its text in the lower left corner where there is room.
 * @param {Regions} panel @param {CanvasRenderingContext2D} context @param {Viewer} viewer @param {Place} first @param {Place} last @param {Rect[]} boxes gets those of texts
 */
function drawParts(panel, context, viewer, first, last, boxes) {
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
      boxes.push([x + 3 * ratio, y + down - 20 * ratio, long, 17 * ratio]);
      context.fillStyle = "#1b2330";
      context.fillText(name, x + 7 * ratio, y + down - 18 * ratio);
    }
  }
}

/**
 * The name of each region that has room for it, and of each layer none of whose regions has.
 * @param {Regions} panel @param {Group[]} groups @param {CanvasRenderingContext2D} context @param {Viewer} viewer @param {Place} first @param {Place} last @param {Rect[]} boxes gets those of texts
 */
function drawNames(panel, groups, context, viewer, first, last, boxes) {
  const { cellWidth, cellHeight, ratio } = viewer;
  const inView = (/** @type {Rect} */ [top, left, high, wide]) => top < last.row && top + high > first.row && left < last.column && left + wide > first.column;
  context.textBaseline = "top";
  context.textAlign = "left";
  /** @param {string} name @param {Rect[]} rects @param {number} covered the share of the area that the name may cover @param {number} least pixels of height */
  const write = (name, rects, covered, least) => {
    const seen = rects.filter(inView);
    if (!seen.length) return false;
    const [top, left, high, wide] = seen.reduce((a, b) => (a[2] * a[3] >= b[2] * b[3] ? a : b));
    const room = { width: wide * cellWidth, height: high * cellHeight };
    if (room.height < least * ratio || room.width < 24 * ratio) return false;
    const size = Math.min(12, room.height / ratio - 5);
    context.font = `${size * ratio}px system-ui, sans-serif`;
    const text = widthOf(context, name);
    const box = { width: text + 8 * ratio, height: Math.min(17, size + 4) * ratio };
    if (box.width > room.width || box.width * box.height > covered * room.width * room.height) return false;
    const x = Math.max(left * cellWidth, viewer.x) + 3 * ratio;
    const y = Math.max(top * cellHeight, viewer.y) + Math.min(3 * ratio, (room.height - box.height) / 2);
    if (x + box.width > (left + wide) * cellWidth || y + box.height > (top + high) * cellHeight) return false;
    context.fillStyle = "rgba(255, 255, 255, .88)";
    context.fillRect(x, y, box.width, box.height);
    boxes.push([x, y, box.width, box.height]);
    context.fillStyle = "#1b2330";
    context.fillText(name, x + 4 * ratio, y + 2 * ratio);
    return true;
  };
  const written = panel.regions.map(([name, rects]) => write(name, rects, COVERED, 22));
  for (const { name, members, box } of groups) {
    const whole = /** @type {Rect} */ ([box[0] + 1, box[1], box[2] - 1, box[3]]); // below the step at its beginning
    if (!members.some((region) => written[region])) write(name, [whole], COVERED, 14);
  }
}

/**
 * Modules, their matrices and the numbers of layers, where the grid keeps room for them; over the cells where it is too little.
 * @param {Regions} panel @param {CanvasRenderingContext2D} context @param {Viewer} viewer @param {Place} first @param {Place} last @param {Rect[]} boxes gets those of texts
 */
function drawHeads(panel, context, viewer, first, last, boxes) {
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
      boxes.push(box);
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
