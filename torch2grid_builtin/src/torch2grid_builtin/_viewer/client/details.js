// What is known of one tensor: figures, a histogram, profiles of its rows and columns, and where its extremes are.

import { figures } from "./axes.js";
import { breakable, element } from "./elements.js";
import { grouped } from "./format.js";
import { histogramPanel } from "./histogram.js";
import { linePanel } from "./planes.js";

export class Details {
  /** @param {{go: (tensor: number, flat: number) => void, closed: () => void}} options */
  constructor(options) {
    this.options = options;
    this.tensor = -1;
    this.body = element("div", { class: "facts", text: "" });
    this.title = element("h2", { tabindex: -1 });
    this.about = element("div", { class: "facts" });
    const close = element("button", { type: "button", class: "close", "aria-label": "close (Esc)", text: "×", onclick: () => options.closed() });
    this.box = element("div", {}, close, this.title, this.about, this.body);
  }

  /** @param {number} tensor @param {any[]} entry */
  name(tensor, [name, shape, dtype, bytes, note]) {
    this.tensor = tensor;
    this.title.replaceChildren(...breakable(name));
    this.about.textContent = `${shape.join(" × ") || "scalar"} · ${dtype} · ${grouped(bytes)} bytes${note ? ` · ${note}` : ""}`;
    this.body.replaceChildren("reading …");
  }

  /** @param {any} found */
  show(found) {
    const { counts } = found;
    if (!counts) return this.body.replaceChildren("no figures of this picture on this page");
    const pairs = /** @type {[string, string][]} */ ([["weights", grouped(counts.count)], ...Object.entries(found.figures).map(([name, text]) => [name, text]), ["zeros", grouped(counts.zeros)]]);
    for (const [name, word] of [["nan", "NaN"], ["posinf", "+Inf"], ["neginf", "−Inf"]]) if (counts[name]) pairs.unshift([word, grouped(counts[name])]);
    for (const [share, text] of found.quantiles) pairs.push([`${100 * share} %`, text]);
    const parts = [figures(pairs)];
    if (found.not_finite.length) parts.unshift(this.places("NaN and Inf", found.not_finite));
    if (found.bars.length) {
      const panel = { title: "", edges: found.edges, counts: found.bars, xlabel: "weight", below: 0, above: 0, nan: counts.nan, log: true, marks: [], summary: [] };
      parts.push(element("h3", { text: "histogram" }), ...histogramPanel(panel, { compact: false, brush: null }));
    }
    for (const [name, profile] of /** @type {[string, any][]} */ ([["rows: largest |weight|", found.rows], ["columns: largest |weight|", found.columns]])) {
      if (!profile || profile.values.length < 2) continue;
      const x = profile.values.map((/** @type {number} */ _, /** @type {number} */ place) => place * profile.step);
      const panel = { title: name, x, y: /** @type {[string, any[]][]} */ ([["|max|", profile.values]]), xlabel: profile.step > 1 ? `index, ${profile.step} a point` : "index", ylabel: "", xticks: [], log: false, marks: [], xlog: false, xmarks: [], flags: {} };
      parts.push(element("h3", { text: name }), ...linePanel(panel));
    }
    if (found.largest.length) parts.push(this.places("largest |weight|", found.largest));
    this.body.replaceChildren(...parts);
  }

  /** @param {string} title @param {{index: number[], flat: number, value: string}[]} places */
  places(title, places) {
    const { tensor } = this;
    const rows = places.map(({ index, flat, value }) => element("li", {}, element("button", { type: "button", class: "link", text: `[${index.join(", ")}]`, onclick: () => this.options.go(tensor, flat) }), ` ${value}`));
    return element("section", {}, element("h3", { text: title }), element("ol", { class: "places" }, ...rows));
  }
}
