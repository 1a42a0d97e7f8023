// Bars, nested quantiles and ridges.

/** @import { Context } from "./heatmap.js" */
import { asinh, bentTicks, linear, plot, pointed, sized, xAxis } from "./axes.js";
import { breakable, drawn, element } from "./elements.js";
import { brief, clamp, finite, grouped, numeric, percent, ticks } from "./format.js";
import { roving } from "./roving.js";
import { hideTip, showTip } from "./tip.js";

/**
 * Flags say what is wrong at a place.
 * @typedef {Pick<Context, 'find' | 'open'>} Links
 * @typedef {Record<string, string>} Flags
 * @typedef {{labels: string[], values: any[], ylabel: string, marks: [string, any][], flags: Flags, bend: number}} Bars
 * @typedef {{title?: string, labels: string[], names: string[], values: any[][], ylabel: string, flags: Flags, bend: number, limits?: [number, number] | null}} Quantiles
 * @typedef {{title?: string, labels: string[], edges: any[], shares: any[][], xlabel: string, flags: Flags, bend: number}} Ridges
 */

/** A label with what is wrong there behind it. @param {string} label @param {string | undefined} flag @param {Links} context */
function flagged(label, flag, context) {
  const name = named(label, context);
  return flag === undefined ? name : element("span", { class: "name" }, name, element("span", { class: "lost", text: ` (${flag})` }));
}

/** @param {string} label @param {Links} context */
function named(label, context) {
  const tensor = context.find(label);
  const parts = breakable(label);
  if (tensor === undefined) return element("span", { class: "name", title: label }, ...parts);
  return element("button", { type: "button", class: "link name", title: label, onclick: () => context.open(tensor) }, ...parts);
}

/** The elements of bars. @param {Bars} panel @param {Links} context @returns {HTMLElement[]} */
export function barPanel(panel, context) {
  const values = panel.values.map(numeric);
  /** @type {[string, number][]} */
  const levels = panel.marks.map(([name, value]) => [name, numeric(value)]);
  const known = finite([...values, ...levels.map(([, value]) => value)]);
  const low = Math.min(0, ...known);
  const high = Math.max(0, ...known) || (low < 0 ? 0 : 1);
  const at = panel.bend ? asinh(low, high, panel.bend, 0, 100) : linear(low, high, 0, 100);
  const rows = element("div", { class: "rows" });
  panel.labels.forEach((label, index) => {
    const value = values[index];
    const track = element("div", { class: "track" });
    if (Number.isFinite(value) && value !== 0) {
      const bar = element("i", { class: value < 0 ? "minus" : "" });
      bar.style.left = `${Math.min(at(0), at(value))}%`;
      bar.style.width = `${Math.abs(at(value) - at(0))}%`;
      track.append(bar);
    }
    for (const [name, level] of levels) {
      if (!Number.isFinite(level)) continue;
      const line = element("u", { title: `${name}: ${brief(level)}` });
      line.style.left = `${at(level)}%`;
      track.append(line);
    }
    rows.append(element("div", { class: "bar-row" }, flagged(label, panel.flags[index], context), track, element("span", { text: brief(value, 4) })));
  });
  roving(rows, ".link");
  const notes = [axisText(panel.ylabel, panel.bend), ...levels.map(([name, value]) => `${name}: ${brief(value)}`)].filter(Boolean);
  return [rows, ...(notes.length ? [element("div", { class: "legend" }, ...notes.map((text) => element("span", { text })))] : [])];
}

const ROW = 24;
const LONG = 20; // rows that may not all be in view: the axis is above them too

/** The elements of nested quantiles. @param {Quantiles} panel @param {Links} context @returns {HTMLElement[]} */
export function quantilesPanel(panel, context) {
  const values = panel.values.map((row) => row.map(numeric));
  const known = finite(values.flat());
  if (!known.length) return [element("div", { text: "no finite quantile" }), ...flagList(panel, panel.labels)];
  const [low, high] = panel.limits ?? [Math.min(...known), Math.max(...known)];
  const pairs = Math.floor(values.length / 2);

  /** @param {number} width */
  function draw(width) {
    const tail = (/** @type {number} */ column) => (panel.flags[column] === undefined ? "" : ` (${panel.flags[column]})`);
    const longest = Math.max(...panel.labels.map((label, column) => label.length + tail(column).length));
    const left = clamp(longest * 6.6 + 14, 60, Math.min(300, width * 0.42));
    const right = width - 12;
    const long = panel.labels.length > LONG;
    const top = long ? 24 : 0;
    const bottom = top + panel.labels.length * ROW + 6;
    const height = bottom + 40;
    const x = panel.bend ? asinh(low, high, panel.bend, left, right) : linear(low, high, left, right);
    const marks = panel.bend ? bentTicks(low, high, panel.bend, x, 70) : ticks(low, high, 6);
    const svg = plot(width, height, panel.title || "quantiles");
    for (const tick of marks) svg.append(drawn("line", { class: "grid", x1: x(tick), x2: x(tick), y1: top, y2: bottom }));
    panel.labels.forEach((label, column) => {
      const y = top + column * ROW;
      const fitted = Math.max(Math.floor((left - 14) / 6.4) - tail(column).length, 6);
      const text = label.length > fitted ? `${label.slice(0, Math.ceil(fitted * 0.5) - 1)}…${label.slice(-Math.floor(fitted * 0.5))}` : label;
      svg.append(drawn("text", { class: tail(column) ? "lost" : "ink", x: left - 10, y: y + 16, "text-anchor": "end" }, text + tail(column)));
      const own = values.map((row) => row[column]);
      if (own.every(Number.isFinite)) {
        for (let depth = 0; depth < pairs; depth++) {
          const inset = 3 + (pairs - 1 - depth ? 4 - Math.min(depth, 2) * 2 : 0);
          const from = x(own[depth]);
          svg.append(drawn("rect", { class: `q${Math.min(4 - pairs + depth, 3)}`, x: from, width: Math.max(x(own[own.length - 1 - depth]) - from, 1), y: y + inset, height: ROW - 2 * inset }));
        }
        if (values.length % 2) svg.append(drawn("line", { class: "median", x1: x(own[pairs]), x2: x(own[pairs]), y1: y + 2, y2: y + ROW - 2 }));
      }
      const hit = drawn("rect", { class: "hit", x: 0, width, y, height: ROW });
      hit.addEventListener("pointermove", (event) => showTip(event, [label + tail(column), ...panel.names.map((name, level) => `${name}: ${brief(own[level], 4)}`)]));
      hit.addEventListener("pointerleave", hideTip);
      const tensor = context.find(label);
      if (tensor !== undefined) {
        hit.addEventListener("click", () => context.open(tensor));
        hit.style.cursor = "pointer";
      }
      svg.append(hit);
    });
    if (long) for (const tick of marks) svg.append(drawn("text", { x: x(tick), y: 14, "text-anchor": "middle" }, brief(tick)));
    xAxis(svg, x, marks, bottom, left, right);
    svg.append(drawn("text", { x: (left + right) / 2, y: height - 6, "text-anchor": "middle" }, axisText(panel.ylabel, panel.bend)));
    return svg;
  }
  return [element("div", { class: "scroll" }, sized(draw)), element("div", { class: "legend" }, element("span", { text: `quantiles: ${panel.names.join(", ")}` }))];
}

const axisText = (/** @type {string} */ label, /** @type {number} */ bend) => (bend ? `${label}, asinh axis (linear within ±${brief(bend, 2)})` : label);

const RIDGE = 30; // from one line to the next
const OVERLAP = 0.7; // how far the highest ridge reaches into the line above, in lines

/** The elements of ridges. @param {Ridges} panel @returns {HTMLElement[]} */
export function ridgesPanel(panel) {
  const edges = panel.edges.map(numeric);
  const shares = panel.shares.map((row) => row.map(numeric));
  const highest = Math.max(...finite(shares.flat()), 0) || 1;
  if (edges.length < 2 || !panel.labels.length) return [element("div", { text: "no distribution" })];
  const low = edges[0];
  const high = edges[edges.length - 1];

  /** @param {number} width */
  function draw(width) {
    const tail = (/** @type {number} */ place) => (panel.flags[place] === undefined ? "" : ` (${panel.flags[place]})`);
    const longest = Math.max(...panel.labels.map((label, place) => label.length + tail(place).length));
    const left = clamp(longest * 6.6 + 14, 60, Math.min(300, width * 0.42));
    const right = width - 12;
    const top = RIDGE * OVERLAP + 4;
    const bottom = top + panel.labels.length * RIDGE;
    const x = panel.bend ? asinh(low, high, panel.bend, left, right) : linear(low, high, left, right);
    const marks = panel.bend ? bentTicks(low, high, panel.bend, x, 70) : ticks(low, high, 6);
    const svg = plot(width, bottom + 40, panel.title || "distributions");
    for (const tick of marks) svg.append(drawn("line", { class: "grid", x1: x(tick), x2: x(tick), y1: top, y2: bottom }));
    panel.labels.forEach((label, place) => {
      const base = top + (place + 1) * RIDGE;
      svg.append(drawn("text", { class: tail(place) ? "lost" : "ink", x: left - 10, y: base - 8, "text-anchor": "end" }, label + tail(place)));
      svg.append(drawn("line", { class: "grid", x1: left, x2: right, y1: base, y2: base }));
      if (shares[place].some(Number.isFinite)) {
        const steps = shares[place].map((share, bar) => {
          const y = (base - ((share || 0) / highest) * RIDGE * (1 + OVERLAP)).toFixed(1);
          return `L${x(edges[bar]).toFixed(1)} ${y}L${x(edges[bar + 1]).toFixed(1)} ${y}`;
        });
        svg.append(drawn("path", { class: "ridge", d: `M${left} ${base}${steps.join("")}L${right} ${base}` }));
      }
      const hit = drawn("rect", { class: "hit", x: left, width: right - left, y: base - RIDGE, height: RIDGE });
      hit.addEventListener("pointermove", (event) => {
        const at = pointed(svg, event, width).x;
        const bar = Math.max(edges.findIndex((edge) => x(edge) > at) - 1, 0);
        const share = shares[place][bar];
        const text = Number.isFinite(share) ? `${brief(edges[bar])} to ${brief(edges[bar + 1])}: ${share ? percent(share) : "none"}` : "nothing finite";
        showTip(event, [label + tail(place), text]);
      });
      hit.addEventListener("pointerleave", hideTip);
      svg.append(hit);
    });
    xAxis(svg, x, marks, bottom, left, right);
    svg.append(drawn("text", { x: (left + right) / 2, y: bottom + 34, "text-anchor": "middle" }, axisText(panel.xlabel, panel.bend)));
    return svg;
  }
  return [element("div", { class: "scroll" }, sized(draw))];
}

/** Which places are marked, and why; of many the first. @param {{flags: Flags}} panel @param {string[]} labels @returns {HTMLElement[]} */
export function flagList(panel, labels) {
  const places = Object.keys(panel.flags);
  if (!places.length) return [];
  const told = places.slice(0, 12).map((place) => `${labels[Number(place)]}: ${panel.flags[place]}`);
  if (places.length > told.length) told.push(`and ${grouped(places.length - told.length)} more`);
  return [element("div", { class: "legend lost" }, ...told.map((text) => element("span", { text })))];
}

/** The elements of a text. @param {{lines: string[]}} panel @returns {HTMLElement[]} */
export function textPanel(panel) {
  return [element("pre", { text: panel.lines.join("\n") })];
}
