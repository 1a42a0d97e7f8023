// What a map holds, as a list beside it: each region with its name, whatever room it has on the map.

/** @import { Rect, Regions } from "./regions.js" */
/** @import { Viewer } from "./viewer.js" */
import { breakable, element, penOf } from "./elements.js";
import { grouped } from "./format.js";
import { around } from "./regions.js";
import { roving } from "./roving.js";

const MOST = 3000; // entries; names beyond are on the map alone
const LEAST = 2; // pixels that a region is marked with, however thin it is
const THICK = 24; // pixels from which a frame around it is enough, and its cells stay as they are
const MARK = "rgba(255, 196, 0, .8)"; // over blue, red, white and grey alike

/**
 * The map and, beside it, its regions in order: pointing at one marks it on the map, choosing one goes there.
 * @param {Regions} panel @param {Int32Array | null} owners of each cell, the number of its region, where these are of any form
 * @param {Viewer} viewer @param {HTMLElement} legend what stands below the map
 * @param {(name: string) => string} about what to say of a region behind its name @returns {HTMLElement}
 */
export function withContents(panel, owners, viewer, legend, about) {
  const list = element("div", { class: "contents", role: "group", "aria-label": "what the map holds" });
  const mark = (/** @type {number | null} */ region) => {
    viewer.marked = region === null ? null : owners ? cellsOf(panel, owners, region) : rectsOf(panel.regions[region][1]);
    viewer.draw();
  };
  for (const [region, [name, rects]] of panel.regions.slice(0, MOST).entries()) {
    const go = () => viewer.show(placeOf(rects));
    const facts = about(name);
    list.append(element(
      "button",
      { type: "button", class: "place", title: name, onclick: go, onpointerenter: () => mark(region), onpointerleave: () => mark(null), onfocus: () => mark(region), onblur: () => mark(null) },
      element("span", { class: "name" }, ...breakable(name)),
      facts ? element("span", { class: "facts", text: facts }) : null,
    ));
  }
  const more = panel.regions.length - MOST;
  if (more > 0) list.append(element("div", { class: "facts", text: `and ${grouped(more)} more` }));
  roving(list, ".place");
  const both = element("div", { class: "with-contents" }, element("div", { class: "map" }, viewer.box, legend), list);
  const { width, height } = viewer.most();
  both.style.setProperty("--map-width", `${width}px`);
  both.style.setProperty("--map-height", `${height}px`);
  return both;
}

/** Where a region is to be seen: the rectangle around it, or of a ring its largest side. @param {Rect[]} rects @returns {Rect} */
function placeOf(rects) {
  const area = (/** @type {Rect} */ [, , high, wide]) => high * wide;
  const whole = around(rects);
  const filled = rects.reduce((sum, rect) => sum + area(rect), 0);
  return 2 * filled < area(whole) ? rects.reduce((one, other) => (area(one) >= area(other) ? one : other)) : whole;
}

/** @param {Rect[]} rects @returns {(context: CanvasRenderingContext2D, viewer: Viewer) => void} */
function rectsOf(rects) {
  return (context, { cellWidth, cellHeight, ratio }) => {
    context.fillStyle = context.strokeStyle = MARK;
    context.lineWidth = LEAST * ratio;
    for (const [top, left, high, wide] of rects) {
      const [x, y, across, down] = [left * cellWidth, top * cellHeight, wide * cellWidth, high * cellHeight];
      if (Math.min(across, down) > THICK * ratio) context.strokeRect(x + ratio, y + ratio, across - LEAST * ratio, down - LEAST * ratio);
      else context.fillRect(x, y, Math.max(across, LEAST * ratio), Math.max(down, LEAST * ratio));
    }
  };
}

/** @param {Regions} panel @param {Int32Array} owners @param {number} region @returns {(context: CanvasRenderingContext2D, viewer: Viewer) => void} */
function cellsOf({ shape: [rows, columns] }, owners, region) {
  const cells = element("canvas", { width: columns, height: rows });
  const pen = penOf(cells);
  pen.fillStyle = MARK;
  for (let row = 0; row < rows; row++) {
    let from = -1;
    for (let column = 0; column <= columns; column++) {
      const inside = column < columns && owners[row * columns + column] === region;
      if (inside && from < 0) from = column;
      if (!inside && from >= 0) {
        pen.fillRect(from, row, column - from, 1);
        from = -1;
      }
    }
  }
  return (context, { cellWidth, cellHeight }) => context.drawImage(cells, 0, 0, columns * cellWidth, rows * cellHeight);
}
