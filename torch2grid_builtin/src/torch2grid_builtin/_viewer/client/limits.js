// The limits of colours: a histogram of the cells with two handles, which can be dragged or moved by keys.

import { drawn, element } from "./elements.js";
import { brief, clamp, exactly } from "./format.js";

const WIDTH = 260;
const HEIGHT = 54;

export class Limits {
  /** @param {(low: number, high: number) => void} changed */
  constructor(changed) {
    this.changed = changed;
    this.edges = [0, 1];
    /** @type {number[]} */
    this.counts = [];
    this.low = 0;
    this.high = 1;
    this.of = "";
    this.svg = drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "limits", role: "group", "aria-label": "limits of the colours" });
    this.text = element("div", { class: "facts", "aria-live": "polite" });
    this.box = element("div", { class: "limits-box" }, this.svg, this.text);
  }

  /** @param {{counts: number[], edges: number[]}} histogram @param {number} low @param {number} high @param {string} of which tensors they are of; empty for all */
  set(histogram, low, high, of = "") {
    this.of = of;
    this.counts = histogram.counts;
    this.edges = histogram.edges;
    [this.low, this.high] = [low, high];
    this.draw();
  }

  get ends() {
    const [first, last] = [this.edges[0], this.edges[this.edges.length - 1]];
    const low = Math.min(first, this.low);
    const high = Math.max(last, this.high);
    return high > low ? [low, high] : [low - 1, high + 1];
  }

  /** @param {number} value */
  x(value) {
    const [low, high] = this.ends;
    return 8 + ((value - low) / (high - low)) * (WIDTH - 16);
  }

  draw() {
    const peak = Math.log1p(Math.max(1, ...this.counts));
    const bars = this.counts.map((count, place) => {
      const [from, to] = [this.x(this.edges[place]), this.x(this.edges[place + 1] ?? this.edges[place])];
      const tall = (Math.log1p(count) / peak) * (HEIGHT - 12);
      return drawn("rect", { class: "column", x: from, width: Math.max(to - from, 0.6), y: HEIGHT - 8 - tall, height: tall });
    });
    const out = [
      drawn("rect", { class: "beyond", x: 0, y: 0, width: Math.max(this.x(this.low), 0), height: HEIGHT - 8 }),
      drawn("rect", { class: "beyond", x: this.x(this.high), y: 0, width: Math.max(WIDTH - this.x(this.high), 0), height: HEIGHT - 8 }),
    ];
    this.svg.replaceChildren(...bars, ...out, this.handle("low"), this.handle("high"));
    const range = `${brief(this.low)} to ${brief(this.high)}`;
    if (this.of) this.text.replaceChildren(element("div", { text: range }), element("div", { class: "kind", text: this.of.split(".").slice(-3).join("."), title: `limits of ${this.of}` }));
    else this.text.textContent = range;
  }

  /** @param {"low" | "high"} side */
  handle(side) {
    const made = drawn("g", { class: "handle", tabindex: 0, role: "slider", "aria-label": side === "low" ? "lower limit" : "upper limit", "aria-valuetext": exactly(this[side]), "aria-valuenow": this[side], transform: `translate(${clamp(this.x(this[side]), 4, WIDTH - 4)} 0)` });
    made.append(drawn("line", { x1: 0, x2: 0, y1: 0, y2: HEIGHT - 6 }), drawn("circle", { cx: 0, cy: HEIGHT - 8, r: 6 }));
    made.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      const move = (/** @type {PointerEvent} */ now) => this.moveTo(side, now);
      const end = () => {
        removeEventListener("pointermove", move);
        removeEventListener("pointerup", end);
      };
      addEventListener("pointermove", move);
      addEventListener("pointerup", end);
    });
    made.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1 }[event.key];
      if (!by) return;
      const [low, high] = this.ends;
      this.take(side, this[side] + (by * (high - low)) / (event.shiftKey ? 20 : 100));
      /** @type {HTMLElement | null} */ (this.svg.querySelector(`[aria-label="${side === "low" ? "lower" : "upper"} limit"]`))?.focus();
      event.preventDefault();
      event.stopPropagation();
    });
    return made;
  }

  /** @param {"low" | "high"} side @param {PointerEvent} event */
  moveTo(side, event) {
    const place = this.svg.getBoundingClientRect();
    const share = clamp(((event.clientX - place.left) / place.width) * WIDTH - 8, 0, WIDTH - 16) / (WIDTH - 16);
    const [low, high] = this.ends;
    this.take(side, low + share * (high - low));
  }

  /** @param {"low" | "high"} side @param {number} value */
  take(side, value) {
    if (side === "low" ? value >= this.high : value <= this.low) return;
    this[side] = value;
    this.draw();
    this.changed(this.low, this.high);
  }
}
