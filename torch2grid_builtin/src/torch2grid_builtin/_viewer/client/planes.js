// Lines and points between two axes of numbers, each linear or logarithmic.

/** @import { Context } from "./heatmap.js" */
import { linear, logarithmic, plot, pointed, powers, sized, xAxis, yAxis } from "./axes.js";
import { drawn, element } from "./elements.js";
import { brief, clamp, grouped, numeric, ticks } from "./format.js";
import { flagList } from "./plots.js";
import { hideTip, showTip } from "./tip.js";

const TOP = 14;
const SERIES = 8; // colours; series beyond them are dashed
export const CURVE_SERIES = [1, 5, 4, 3, 6]; // whose colours curves over bars have, which are as blue as the first

const seriesClass = (/** @type {number} */ index) => `series n${index % SERIES}${index < SERIES ? "" : " again"}`;

/**
 * Marks are named numbers of an axis; xticks name the places of a line instead of numbers; flags say what is wrong at a place.
 * @typedef {{title?: string, xlabel: string, ylabel: string, xticks?: string[], log: boolean, xlog: boolean, marks: Mark[], xmarks: Mark[]}} Plane
 * @typedef {[string, any]} Mark
 * @typedef {Plane & {x: any[], y: [string, any[]][], xticks: string[], flags: Record<string, string>, named?: boolean}} Lines
 * @typedef {Plane & {x: any[], y: any[], names: string[], groups: string[], group: number[]}} Points
 * @typedef {{low: number, high: number, log: boolean, usable(value: number): boolean, empty: boolean}} Extent
 */

/** What lies on one axis: its ends, and which numbers it shows. @param {number[]} values @param {boolean} log @returns {Extent} */
function extent(values, log) {
  const usable = (/** @type {number} */ value) => Number.isFinite(value) && (!log || value > 0);
  const known = values.filter(usable);
  let low = known.reduce((least, value) => Math.min(least, value), Infinity);
  let high = known.reduce((most, value) => Math.max(most, value), -Infinity);
  if (low === high) [low, high] = log ? [low / 10, high * 10] : [low - 1, high + 1];
  return { low, high, log, usable, empty: !known.length };
}

const axisOf = (/** @type {Extent} */ { low, high, log }, /** @type {number} */ from, /** @type {number} */ to) => (log ? logarithmic : linear)(low, high, from, to);
const ticksOf = (/** @type {Extent} */ { low, high, log }, /** @type {number} */ wanted) => (log ? powers(low, high) : ticks(low, high, wanted));
/** @type {(marks: Mark[]) => [string, number][]} */
const markList = (marks) => marks.map(([name, value]) => [name, numeric(value)]);

/**
 * The frame of a plot of *panel*: an SVG with both axes and the marks of both, and the scales.
 * @param {Plane} panel @param {Extent} across @param {Extent} up @param {number} width @param {string} label
 */
function plane(panel, across, up, width, label) {
  const upright = markList(panel.xmarks).filter(([, value]) => across.usable(value)).sort((a, b) => a[1] - b[1]);
  const top = upright.length ? TOP + 16 : TOP;
  const height = clamp(width * 0.36, 200, 380) + top - TOP;
  const left = 64;
  const right = width - 14;
  const bottom = height - 40;
  const x = axisOf(across, left, right);
  const y = axisOf(up, bottom, top);
  const svg = plot(width, height, panel.title || label);
  yAxis(svg, y, ticksOf(up, 5), left, right);
  if (panel.xticks === undefined || !panel.xticks.length) xAxis(svg, x, ticksOf(across, 8), bottom, left, right);
  else svg.append(drawn("line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom }));
  svg.append(drawn("text", { x: (left + right) / 2, y: height - 6, "text-anchor": "middle" }, panel.xlabel));
  svg.append(drawn("text", { x: 0, y: 8 }, panel.ylabel));
  for (const [name, level] of markList(panel.marks).filter(([, value]) => up.usable(value))) {
    svg.append(drawn("line", { class: "mark", x1: left, x2: right, y1: y(level), y2: y(level) }));
    svg.append(drawn("text", { class: "ink", x: right, y: y(level) - 4, "text-anchor": "end" }, name));
  }
  let end = -Infinity;
  for (const [name, place] of upright) {
    const at = x(place);
    const line = drawn("line", { class: "mark", x1: at, x2: at, y1: top, y2: bottom });
    line.append(drawn("title", {}, `${name}: ${brief(place)}`));
    svg.append(line);
    const half = name.length * 3.2;
    const middle = clamp(at, left + half, right - half);
    if (middle - half < end + 8) continue;
    end = middle + half;
    svg.append(drawn("text", { class: "ink", x: middle, y: top - 5, "text-anchor": "middle" }, name));
  }
  return { svg, x, y, left, right, top, bottom };
}

/** The elements of lines. @param {Lines} panel @returns {HTMLElement[]} */
export function linePanel(panel) {
  /** @type {[string, number[]][]} */
  const series = panel.y.map(([name, values]) => [name, values.map(numeric)]);
  const xs = panel.x.map(numeric);
  const up = extent([...series.flatMap(([, values]) => values), ...markList(panel.marks).map(([, value]) => value)], panel.log);
  const across = extent([...xs, ...markList(panel.xmarks).map(([, value]) => value)], panel.xlog);
  const places = panel.xticks.length ? panel.xticks : panel.x.map((value) => brief(value, 6));
  if (up.empty || across.empty) return [element("div", { text: "no finite value" }), ...flagList(panel, places)];
  const single = across.usable(xs[0]) && xs.length === 1 && !panel.xmarks.length;
  const seen = (/** @type {number[]} */ values, /** @type {number} */ place) => up.usable(values[place]) && across.usable(xs[place]);

  /** @param {number} width */
  function draw(width) {
    const { svg, x: placed, y, left, right, top, bottom } = plane(panel, across, up, width, "lines");
    const x = single ? () => left : placed;
    if (panel.xticks.length) tickNames(svg, panel.xticks, xs, x, bottom, left, right);
    series.forEach(([, values], index) => {
      let path = "";
      let pen = "M";
      values.forEach((value, place) => {
        if (seen(values, place)) {
          path += `${pen}${x(xs[place]).toFixed(1)} ${y(value).toFixed(1)}`;
          if (pen === "M" && values.length > 1 && !seen(values, place + 1)) path += "h6"; // a value between gaps is seen
          pen = "L";
          if (values.length > 1 && !seen(values, place - 1) && !seen(values, place + 1)) {
            svg.append(drawn("circle", { class: seriesClass(index), cx: x(xs[place]), cy: y(value), r: 1.5 })); // no line reaches it
          }
        } else {
          pen = "M";
        }
      });
      if (values.length === 1 && seen(values, 0)) path += "h8";
      svg.append(drawn("path", { class: seriesClass(index), d: path }));
    });
    for (const place of Object.keys(panel.flags).map(Number)) {
      if (!across.usable(xs[place])) continue;
      const at = x(xs[place]);
      svg.append(drawn("line", { class: "lost", x1: at, x2: at, y1: top, y2: bottom }));
      svg.append(drawn("rect", { class: "lost", x: at - 3, y: bottom - 3, width: 6, height: 6 }));
    }
    const cross = drawn("line", { class: "axis", y1: top, y2: bottom, visibility: "hidden" });
    const hit = drawn("rect", { x: left, y: 0, width: right - left, height: bottom, fill: "transparent" });
    hit.addEventListener("pointermove", (event) => {
      const at = pointed(svg, event, width).x;
      let nearest = 0;
      for (let i = 1; i < xs.length; i++) if (Math.abs(x(xs[i]) - at) < Math.abs(x(xs[nearest]) - at)) nearest = i;
      cross.setAttribute("x1", String(x(xs[nearest])));
      cross.setAttribute("x2", String(x(xs[nearest])));
      cross.setAttribute("visibility", "visible");
      const label = panel.xticks[nearest] ?? `${panel.xlabel || "x"} ${brief(xs[nearest], 6)}`;
      showTip(event, [label, panel.flags[nearest], ...series.map(([name, values]) => `${name}: ${brief(values[nearest], 4)}`)]);
    });
    hit.addEventListener("pointerleave", () => {
      cross.setAttribute("visibility", "hidden");
      hideTip();
    });
    svg.append(cross, hit);
    return svg;
  }
  return [sized(draw), ...(panel.named ? [] : [keysOf(series.map(([name]) => name))]), ...flagList(panel, places)];
}

/** The colours of named lines or groups. @param {string[]} names @param {number[]} [order] the series whose colours are theirs @returns {HTMLElement} */
export function keysOf(names, order) {
  const key = (/** @type {number} */ index) => (order ? `key n${order[index % order.length]}` : `key n${index % SERIES}${index < SERIES ? "" : " again"}`);
  return element("div", { class: "legend" }, ...names.map((name, index) => element("span", {}, element("i", { class: key(index) }), name)));
}

const REACH = 18; // how near a point the pointer has to be, in pixels
const MOST_CIRCLES = 20000;

/** The elements of points. @param {Points} panel @param {{find: Context['find'], open: Context['open']}} context @returns {HTMLElement[]} */
export function scatterPanel(panel, context) {
  const xs = panel.x.map(numeric);
  const ys = panel.y.map(numeric);
  const known = [...xs.keys()].filter((place) => Number.isFinite(xs[place]) && Number.isFinite(ys[place]));
  const across = extent([...known.map((place) => xs[place]), ...markList(panel.xmarks).map(([, value]) => value)], panel.xlog);
  const up = extent([...known.map((place) => ys[place]), ...markList(panel.marks).map(([, value]) => value)], panel.log);
  const shown = known.filter((place) => across.usable(xs[place]) && up.usable(ys[place])).slice(0, MOST_CIRCLES);
  if (!shown.length) return [element("div", { text: "no finite point" })];

  /** @param {number} width */
  function draw(width) {
    const { svg, x, y, left, right, bottom } = plane(panel, across, up, width, "points");
    const at = new Map(shown.map((place) => [place, [x(xs[place]), y(ys[place])]]));
    const radius = shown.length < 500 ? 3 : 2;
    for (const [place, [cx, cy]] of at) svg.append(drawn("circle", { class: `point n${(panel.group[place] ?? 0) % SERIES}`, cx: cx.toFixed(1), cy: cy.toFixed(1), r: radius }));
    const ring = drawn("circle", { class: "ring", r: radius + 3, visibility: "hidden" });
    const hit = drawn("rect", { x: left - REACH, y: 0, width: right - left + 2 * REACH, height: bottom + REACH, fill: "transparent" });
    /** @type {number | null} */
    let nearest = null;
    hit.addEventListener("pointermove", (event) => {
      const pointer = pointed(svg, event, width);
      let least = REACH ** 2;
      nearest = null;
      for (const [place, [cx, cy]] of at) {
        const far = (cx - pointer.x) ** 2 + (cy - pointer.y) ** 2;
        if (far < least) [least, nearest] = [far, place];
      }
      ring.setAttribute("visibility", nearest === null ? "hidden" : "visible");
      hit.style.cursor = nearest !== null && context.find(panel.names[nearest]) !== undefined ? "pointer" : "";
      if (nearest === null) return hideTip();
      const [cx, cy] = at.get(nearest) ?? [];
      ring.setAttribute("cx", String(cx));
      ring.setAttribute("cy", String(cy));
      const group = panel.groups[panel.group[nearest]];
      showTip(event, [panel.names[nearest] || `point ${nearest}`, group, `${panel.xlabel || "x"}: ${brief(xs[nearest], 4)}`, `${panel.ylabel || "y"}: ${brief(ys[nearest], 4)}`]);
    });
    hit.addEventListener("pointerleave", () => {
      ring.setAttribute("visibility", "hidden");
      hideTip();
    });
    hit.addEventListener("click", () => {
      const tensor = nearest === null ? undefined : context.find(panel.names[nearest]);
      if (tensor !== undefined) context.open(tensor);
    });
    svg.append(ring, hit);
    return svg;
  }
  const left = xs.length - shown.length;
  const note = left ? [element("div", { class: "legend" }, element("span", { text: `${grouped(left)} of ${grouped(xs.length)} points are not shown` }))] : [];
  return [sized(draw), ...(panel.groups.length ? [keysOf(panel.groups)] : []), ...note];
}

/**
 * Names below their places: the first, the last, and as many between as there is room for.
 * @param {SVGElement} svg @param {string[]} labels @param {number[]} xs @param {(value: number) => number} x
 * @param {number} bottom @param {number} left @param {number} right
 */
function tickNames(svg, labels, xs, x, bottom, left, right) {
  const texts = labels.map((label) => (label.length > 30 ? `${label.slice(0, 14)}…${label.slice(-14)}` : label));
  const width = (/** @type {string} */ text) => text.length * 6.2 + 14;
  const last = texts.length - 1;
  const end = right - width(texts[last]);
  let from = left;
  texts.forEach((text, place) => {
    const half = width(text) / 2;
    const middle = clamp(x(xs[place]), left + half - 7, right - half + 7);
    if (place === last ? last === 0 || end >= left : middle - half >= from && (place === 0 || middle + half <= end)) {
      svg.append(drawn("text", { x: middle, y: bottom + 16, "text-anchor": "middle" }, text));
      from = middle + half;
    }
  });
}
