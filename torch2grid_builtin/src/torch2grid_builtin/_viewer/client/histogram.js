// A histogram: bars that say their range and share; on a tensor's own page they also pick cells of its heatmaps.

/** @import { Context } from "./heatmap.js" */
import { figures, linear, logarithmic, plot, powers, sized, xAxis, yAxis } from "./axes.js";
import { drawn, element } from "./elements.js";
import { brief, clamp, finite, grouped, numeric, percent, ticks } from "./format.js";
import { CURVE_SERIES, keysOf } from "./planes.js";
import { hideTip, showTip } from "./tip.js";

/**
 * The bars of a histogram. edges: one more than bars, or the first, the width and the number of them where all are equally wide.
 * @typedef {{title?: string, edges: any[] | {first: number, width: number, number: number}, counts: number[], xlabel: string, below: number, above: number,
 *   nan: number, log: boolean, marks: [string, any][], summary: [string, string][], curves?: [string, any[]][]}} Histogram
 */

/** The edges of the bars. @param {Histogram} panel @returns {number[]} */
function edgesOf(panel) {
  if (Array.isArray(panel.edges)) return panel.edges.map(numeric);
  const { first, width, number } = panel.edges;
  return Array.from({ length: number }, (_, index) => first + width * index);
}

/** The elements of a histogram. @param {Histogram} panel @param {{compact: boolean, brush: Context['brush']}} context @returns {HTMLElement[]} */
export function histogramPanel(panel, context) {
  const edges = edgesOf(panel);
  const counts = panel.counts;
  const total = counts.reduce((sum, count) => sum + count, 0) + panel.below + panel.above + panel.nan;
  /** @type {[string, number[]][]} */
  const curves = (panel.curves ?? []).map(([name, values]) => [name, values.map(numeric)]);
  let log = panel.log;

  /** @param {number} width */
  function draw(width) {
    const height = context.compact ? 120 : clamp(width * 0.42, 220, 420);
    const left = context.compact ? 6 : 58;
    const right = width - 10;
    const top = context.compact ? 6 : 20 + 13 * Math.min(panel.marks.length, 3); // names of marks have room above the bars
    const bottom = height - (context.compact ? 22 : 40);
    const peak = Math.max(1, ...counts, ...finite(curves.flatMap(([, values]) => values)));
    const x = linear(edges[0], edges[edges.length - 1], left, right);
    const y = log ? logarithmic(0.5, peak, bottom, top) : linear(0, peak, bottom, top);
    const svg = plot(width, height, panel.title || "histogram");
    if (!context.compact) yAxis(svg, y, log ? powers(1, peak) : ticks(0, peak, 5).filter(Number.isInteger), left, right);
    const columns = drawn("g");
    counts.forEach((count, index) => {
      const from = x(edges[index]);
      const wide = x(edges[index + 1]) - from;
      if (count > 0) {
        const tall = Math.max(1, bottom - y(count));
        columns.append(drawn("rect", { class: "column", x: from, width: Math.max(wide - (wide > 3 ? 1 : 0), 0.5), y: bottom - tall, height: tall }));
      }
    });
    svg.append(columns);
    curves.forEach(([, values], place) => {
      let path = "";
      values.forEach((value, index) => {
        if (!shown(value)) return; // the line goes down to the axis there, so that one bar alone is seen, too
        if (!index || !shown(values[index - 1])) path += `M${x(edges[index]).toFixed(1)} ${bottom}`;
        path += `V${y(value).toFixed(1)}H${x(edges[index + 1]).toFixed(1)}`;
        if (index + 1 === values.length || !shown(values[index + 1])) path += `V${bottom}`;
      });
      svg.append(drawn("path", { class: `series n${CURVE_SERIES[place % CURVE_SERIES.length]}`, d: path }));
    });
    xAxis(svg, x, ticks(edges[0], edges[edges.length - 1], context.compact ? 3 : Math.max(3, width / 110)), bottom, left, right);
    if (!context.compact) {
      svg.append(drawn("text", { x: (left + right) / 2, y: height - 6, "text-anchor": "middle" }, panel.xlabel));
      marks(svg, panel.marks, x, bottom, right);
    }
    hits(svg, x, top, bottom);
    return svg;
  }

  /** On logarithmic heights nothing is drawn of less than half a weight. @param {number} value */
  function shown(value) {
    return Number.isFinite(value) && (value >= 0.5 || !log);
  }

  /** @param {SVGElement} svg @param {(value: number) => number} x @param {number} top @param {number} bottom */
  function hits(svg, x, top, bottom) {
    counts.forEach((count, index) => {
      const hit = drawn("rect", { class: "hit", x: x(edges[index]), width: Math.max(x(edges[index + 1]) - x(edges[index]), 0.5), y: top, height: bottom - top });
      hit.addEventListener("pointermove", (event) => {
        const range = `${brief(edges[index], 4)} … ${brief(edges[index + 1], 4)}`;
        const beside = curves.map(([name, values]) => `${name}: ${brief(values[index], 4)}`);
        showTip(event, [`${grouped(count)} weight${count === 1 ? "" : "s"}`, `${percent(count / total)} of all`, range, ...beside]);
      });
      hit.addEventListener("pointerenter", () => context.brush?.pick((value) => value >= edges[index] && value < edges[index + 1]));
      svg.append(hit);
    });
    svg.addEventListener("pointerleave", () => {
      hideTip();
      context.brush?.pick(null);
    });
  }

  const box = sized(draw);
  /** @type {[string, number][]} */
  const beyond = [["below", panel.below], ["above", panel.above], ["NaN", panel.nan]];
  const outside = beyond.filter(([, count]) => count);
  /** @type {HTMLElement[]} */
  const parts = [box];
  if (curves.length) parts.push(keysOf(curves.map(([name]) => name), CURVE_SERIES));
  if (!context.compact) {
    const toggle = element("button", { type: "button", "aria-pressed": String(log), text: "log heights" });
    toggle.addEventListener("click", () => {
      log = !log;
      toggle.setAttribute("aria-pressed", String(log));
      box.redraw();
    });
    const linked = context.brush?.watched() ? element("span", { class: "facts", text: "a bar shows its cells in the heatmaps of this tensor" }) : null;
    parts.unshift(element("div", { class: "tools" }, toggle, linked));
  }
  /** @type {[string, string][]} */
  const pairs = [...panel.summary, ...outside.map(([name, count]) => /** @type {[string, string]} */ ([`outside, ${name}`, grouped(count)]))];
  if (pairs.length) parts.push(figures(pairs));
  return parts;
}

/**
 * Named vertical lines; names that would meet go to further lines.
 * @param {SVGElement} svg @param {[string, any][]} named @param {(value: number) => number} x @param {number} bottom @param {number} right
 */
function marks(svg, named, x, bottom, right) {
  /** @type {number[]} */
  const ends = [];
  const sorted = named.map(([name, value]) => [name, numeric(value)]).filter(([, value]) => Number.isFinite(value));
  sorted.sort((a, b) => a[1] - b[1]);
  for (const [name, value] of sorted) {
    const place = x(value);
    svg.append(drawn("line", { class: "mark", x1: place, x2: place, y1: 8, y2: bottom }));
    const wide = name.length * 6 + 8;
    const from = place + wide > right ? place - wide : place + 4;
    let line = ends.findIndex((end) => from > end);
    if (line < 0) line = ends.length;
    ends[line] = from + wide;
    svg.append(drawn("text", { class: "ink", x: from, y: 16 + 13 * line }, name));
  }
}
