// Axes of plots: linear or logarithmic scales, ticks and the SVG that holds them.

import { drawn, element } from "./elements.js";
import { brief, clamp } from "./format.js";

/** From *low*…*high* to *from*…*to*. @param {number} low @param {number} high @param {number} from @param {number} to @returns {(value: number) => number} */
export function linear(low, high, from, to) {
  const size = Math.max(Math.abs(low), Math.abs(high)) || 1; // the distance of two numbers may be none
  const span = high / size - low / size || 1;
  return (value) => from + ((value / size - low / size) / span) * (to - from);
}

/** The same by powers of ten; what is not above 0 is at *from*. @param {number} low @param {number} high @param {number} from @param {number} to @returns {(value: number) => number} */
export function logarithmic(low, high, from, to) {
  const inner = linear(Math.log10(low), Math.log10(high), from, to);
  return (value) => (value > 0 ? inner(Math.log10(value)) : from);
}

/** Linear within ±bend, logarithmic beyond. @param {number} low @param {number} high @param {number} bend @param {number} from @param {number} to @returns {(value: number) => number} */
export function asinh(low, high, bend, from, to) {
  const inner = linear(Math.asinh(low / bend), Math.asinh(high / bend), from, to);
  return (value) => inner(Math.asinh(value / bend));
}

/**
 * 0, powers of ten from the largest down, then their multiples by 5 and 2, as far as there is room: of what both sides have, on both or on none; then
 * what one side has alone.
 * @param {number} low @param {number} high @param {number} bend @param {(value: number) => number} scale @param {number} apart @returns {number[]}
 */
export function bentTicks(low, high, bend, scale, apart) {
  const last = Math.floor(Math.log10(Math.max(Math.abs(low), Math.abs(high))) + 1e-9);
  /** @type {number[]} */
  const kept = [];
  const within = (/** @type {number} */ tick) => tick >= low && tick <= high;
  const room = (/** @type {number} */ tick) => kept.every((each) => Math.abs(scale(each) - scale(tick)) >= apart);
  if (within(0)) kept.push(0);
  for (const sides of [2, 1]) {
    for (const times of [1, 5, 2]) {
      for (let power = last; power >= Math.floor(Math.log10(bend)); power--) {
        const pair = [times * 10 ** power, -times * 10 ** power].filter(within);
        if (pair.length === sides && pair.every(room)) kept.push(...pair);
      }
    }
  }
  return kept.sort((a, b) => a - b);
}

/** Powers of ten between two numbers above 0, at most about six. @param {number} low @param {number} high @returns {number[]} */
export function powers(low, high) {
  const found = [];
  const first = Math.ceil(Math.log10(low) - 1e-9);
  const last = Math.floor(Math.log10(high) + 1e-9);
  const step = Math.max(1, Math.ceil((last - first) / 5));
  for (let power = first; power <= last; power += step) found.push(10 ** power);
  return found.length > 1 ? found : [low, high];
}

/** The drawing of a plot. @param {number} width @param {number} height @param {string} label for screen readers @returns {SVGSVGElement} */
export function plot(width, height, label) {
  return drawn("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label || "plot" });
}

/**
 * A plot that is drawn anew for the width it gets.
 * @param {(width: number) => Element} draw @returns {HTMLDivElement & {redraw(): void}}
 */
export function sized(draw) {
  let width = 0;
  const box = Object.assign(element("div"), {
    redraw() {
      if (width) box.replaceChildren(draw(width));
    },
  });
  new ResizeObserver(() => {
    const now = Math.floor(box.clientWidth);
    if (now && now !== width) {
      width = now;
      box.replaceChildren(draw(width));
    }
  }).observe(box);
  return box;
}

/** The axis below a plot. @param {SVGElement} svg @param {(value: number) => number} scale @param {number[]} places @param {number} y @param {number} left @param {number} right */
export function xAxis(svg, scale, places, y, left, right) {
  svg.append(drawn("line", { class: "axis", x1: left, x2: right, y1: y, y2: y }));
  let end = -Infinity;
  for (const place of places) {
    const x = scale(place);
    const text = brief(place);
    const half = text.length * 3.2;
    if (x - half < end + 6) continue;
    end = x + half;
    svg.append(drawn("line", { class: "axis", x1: x, x2: x, y1: y, y2: y + 4 }));
    svg.append(drawn("text", { x: clamp(x, left + half - 4, right - half + 4), y: y + 16, "text-anchor": "middle" }, text));
  }
}

/** Lines across a plot, with their numbers at the left. @param {SVGElement} svg @param {(value: number) => number} scale @param {number[]} places @param {number} left @param {number} right */
export function yAxis(svg, scale, places, left, right) {
  for (const place of places) {
    const y = scale(place);
    svg.append(drawn("line", { class: "grid", x1: left, x2: right, y1: y, y2: y }));
    svg.append(drawn("text", { x: left - 6, y: y + 4, "text-anchor": "end" }, brief(place)));
  }
}

/** Pairs of name and text as a list. @param {[string, string][]} pairs @returns {HTMLElement} */
export function figures(pairs) {
  const list = element("dl", { class: "figures" });
  for (const [name, text] of pairs) list.append(element("div", {}, element("dt", { text: name }), element("dd", { text })));
  return list;
}

/** Where the pointer is, in the units of *svg*, which is *width* wide. @param {SVGElement} svg @param {MouseEvent} event @param {number} width */
export function pointed(svg, event, width) {
  const place = svg.getBoundingClientRect();
  return { x: ((event.clientX - place.left) / place.width) * width, y: ((event.clientY - place.top) / place.width) * width };
}
