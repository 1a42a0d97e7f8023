// The page of the explorer: a map with its outline, its tools and what is known of a tensor.

import { coloursOf, packedMap } from "./colours.js";
import { Details } from "./details.js";
import { bytesOf } from "./decode.js";
import { color, element } from "./elements.js";
import { brief, grouped } from "./format.js";
import { Http } from "./http.js";
import { Limits } from "./limits.js";
import { blocksOf, indexText, placeOf, unravel, weightsOf } from "./locate.js";
import { MapView } from "./map.js";
import { boxesOf } from "./places.js";
import { Outline } from "./outline.js";
import { savedPng, savedSvg } from "./picture.js";
import { planeOf } from "./tiles.js";
import { hideTip, showTip, tipBox } from "./tip.js";

/** @import { Look } from "./tiles.js" */

const KINDS = ["auto", "symmetric", "minmax", "asinh"];
const NAMES = /** @type {Record<string, string>} */ ({ mean: "mean", rms: "RMS", min: "minimum", max: "maximum", auto: "auto", symmetric: "±", minmax: "min to max", asinh: "asinh" });
const THEMES = ["system", "light", "dark", "contrast"];

/** A choice with a label. @param {string} label @param {[string, string][]} options @param {string} now @param {(value: string) => void} chosen */
function choice(label, options, now, chosen) {
  const select = element("select", { "aria-label": label }, ...options.map(([value, text]) => element("option", { value, text, selected: value === now })));
  select.addEventListener("change", () => chosen(select.value));
  return { select, box: element("label", { class: "choice" }, element("span", { text: label }), select) };
}

export class Explorer {
  /** @param {any} provider @param {any} model @param {HTMLElement} root @param {{address?: boolean}} options address: false where the page's address is another's */
  constructor(provider, model, root, { address = true } = {}) {
    this.address = address;
    root.classList.add("explorer");
    this.provider = provider;
    this.model = model;
    this.atlas = model.map;
    this.root = root;
    /** @type {Map<number, import("./locate.js").Block[]>} */
    this.blocks = new Map();
    for (const block of this.atlas.blocks ? blocksOf(this.atlas.blocks) : []) {
      const own = this.blocks.get(block.tensor);
      if (own) own.push(block);
      else this.blocks.set(block.tensor, [block]);
    }
    this.plane = "mean";
    this.kind = "auto";
    /** @type {Map<string, Promise<any>>} limits that were asked for */
    this.coming = new Map();
    /** @type {Map<string, any>} limits by scale's group, plane and kind */
    this.known = new Map();
    /** @type {Map<string, {low: number, high: number}>} limits that the person chose */
    this.own = new Map();
    this.mode = "0";
    this.theme = "system";
    this.tensor = -1;
    this.playing = 0;
    this.each = false; // a scale for each kind of tensor
    /** @type {{row: number, column: number, picture: number} | null} what the line below the map tells of, until all of it is there */
    this.spoken = null;
    this.view = new MapView(this.atlas, provider, {
      looks: (picture, level) => this.look(picture, level),
      labels: model.pictures.map((/** @type {any} */ each) => each.label),
      pointed: (place, event) => this.pointed(place, event),
      chosen: (place) => this.chosen(place),
      moved: () => this.moved(),
      arrived: () => this.arrived(),
    });
    this.view.tiles.all = model.planes;
    this.outline = new Outline(this.atlas.tensors, { chosen: (entry) => this.goTo(entry), pointed: (entry) => this.lit(entry) });
    this.limits = new Limits((low, high) => {
      this.own.set(this.ownKey(this.picture, this.shownKind()), { low, high });
      this.view.draw();
      this.moved();
    });
    /** @type {Map<number, string>} what to say of the repeated block that a tensor is in */
    this.moduleOf = new Map();
    setTimeout(() => {
      this.view.boxes = boxesOf(this.outline.tree, this.view.places, this.atlas.tensors.length);
      this.nameModules(this.outline.tree);
      this.view.draw();
    }); // the tensors are seen first
    this.details = new Details({ go: (tensor, index) => this.goToWeight(tensor, index), closed: () => this.closeDetails() });
    this.readout = element("div", { class: "readout", role: "status", "aria-live": "polite" });
    this.banner = element("div", { class: "banner", role: "alert", hidden: true });
    this.progress = element("div", { class: "facts", text: "reading …" });
    this.calm = matchMedia("(prefers-reduced-motion: reduce)");
    this.dark = matchMedia("(prefers-color-scheme: dark)");
    this.dark.addEventListener("change", () => this.retheme());
    /** @type {AbortController | null} */
    this.asking = null;
    /** @type {Map<string, Look>} */
    this.looked = new Map();
    this.limited = -1; // the level whose limits are shown
    this.stale = new Set(); // limits that a new reading may have moved
    this.filled = false;
    this.written = "";
    this.writing = 0;
    this.measured = 0;
    /** @type {{planes: HTMLSelectElement, kinds: HTMLSelectElement, themes: HTMLSelectElement}} */
    this.selects;
    /** @type {HTMLElement} */
    this.panel;
    /** @type {HTMLElement} */
    this.tools;
    this.view.tiles.base = this.atlas.base;
    model.pictures.forEach((/** @type {any} */ each, /** @type {number} */ picture) => each.filled && this.view.tiles.whole.add(picture));
    this.build();
    this.retheme();
    this.restore(address ? location.hash : "");
    if (address) {
      addEventListener("hashchange", () => {
        if (location.hash !== this.written) this.restore(location.hash);
      });
    }
    (address ? root.ownerDocument : root).addEventListener("keydown", (event) => this.key(/** @type {KeyboardEvent} */ (event)));
  }

  /** The picture that is looked at, or the first of several. */
  get picture() {
    return this.view.arrangement.pictures[0];
  }

  /** @param {import("./outline.js").Entry[]} entries */
  nameModules(entries) {
    for (const entry of entries) {
      if (entry.tensor >= 0) continue;
      const { alike } = entry.first ?? entry;
      if (alike > 1) for (const number of entry.tensors) if (!this.moduleOf.has(number)) this.moduleOf.set(number, `in ${entry.full}, one of ${alike} alike (by name)`);
      this.nameModules(entry.children);
    }
  }

  build() {
    const button = (/** @type {string} */ text, /** @type {string} */ label, /** @type {() => void} */ act) => element("button", { type: "button", "aria-label": label, title: label, text, onclick: act });
    const planes = choice("cells show", this.model.planes.map((/** @type {string} */ each) => [each, NAMES[each]]), this.plane, (value) => this.setPlane(value));
    const kinds = choice("scale", KINDS.map((each) => [each, NAMES[each]]), this.kind, (value) => this.setKind(value));
    const themes = choice("colours", THEMES.map((each) => [each, each]), this.theme, (value) => {
      this.theme = value;
      this.retheme();
      this.moved();
    });
    planes.box.addEventListener("pointerenter", () => this.prepare());
    planes.select.addEventListener("focus", () => this.prepare());
    this.selects = { planes: planes.select, kinds: kinds.select, themes: themes.select };
    const pictures = this.pictureTools();
    this.eachBox = element("input", { type: "checkbox" });
    this.eachBox.addEventListener("change", () => this.setEach(/** @type {HTMLInputElement} */ (this.eachBox).checked));
    const each = this.model.map.kinds.length > 1 ? element("label", { class: "choice check", title: "a scale for each kind of tensor, or one for all: tensors whose names differ in numbers alone are of one kind" }, this.eachBox, element("span", { text: "for each kind" })) : null;
    const more = element("button", { type: "button", class: "toggle", "aria-label": "more tools", "aria-expanded": "false", text: "tools", onclick: () => more.setAttribute("aria-expanded", String(this.root.classList.toggle("tooled"))) });
    this.more = element(
      "div",
      { class: "more" },
      planes.box,
      kinds.box,
      each,
      this.limits.box,
      button("reset", "limits of the colours as they were", () => {
        this.own.clear();
        this.setLimits();
        this.moved();
      }),
      button("PNG", "save this view as PNG", () => savedPng(this)),
      button("SVG", "save this view as SVG", () => savedSvg(this)),
      themes.box,
    );
    this.tools = element(
      "div",
      { class: "tools", role: "toolbar", "aria-label": "tools" },
      button("−", "zoom out (−)", () => this.view.pressed("-", false)),
      button("+", "zoom in (+, or the wheel)", () => this.view.pressed("+", false)),
      button("fit", "show all (0)", () => this.view.pressed("0", false)),
      more,
      this.more,
    );
    const skip = element("a", { class: "skip", href: "#map", text: "skip to the map", onclick: (/** @type {Event} */ event) => {
      event.preventDefault();
      this.view.canvas.focus();
    } });
    this.panel = element("aside", { class: "details", hidden: true, "aria-label": "the tensor" }, this.details.box);
    const menu = element("button", { type: "button", class: "menu", "aria-label": "show or hide the list of tensors", text: "☰", onclick: () => this.root.classList.toggle("listed") });
    const facts = element("div", { class: "facts notes" }, ...this.model.notes.map((/** @type {string} */ text) => element("div", { text })));
    this.root.append(
      skip,
      element("header", {}, menu, element("b", { class: "brand", text: "torch2grid" }), element("span", { class: "title", text: this.model.title, title: this.model.title }), pictures.length ? element("div", { class: "pictures", role: "group", "aria-label": "pictures" }, ...pictures) : null, this.progress),
      this.tools,
      this.banner,
      element("div", { class: "body" }, this.outline.box, element("main", {}, this.view.box, this.readout, facts), this.panel),
      tipBox(),
    );
  }

  /** What chooses between pictures: two with their difference, or a series. @returns {HTMLElement[]} */
  pictureTools() {
    const { pictures } = this.model;
    if (pictures.length < 2) return [];
    if (!pictures[0].frame) {
      const options = /** @type {[string, string][]} */ ([["0", "A"], ["1", "B"], ["2", "Δ"], ["beside", "A, B, Δ abreast"], ["swipe", "A and B, swipe"]]);
      const made = choice("show", options, this.mode, (value) => this.setMode(value));
      this.modes = made.select;
      this.swiper = element("input", { type: "range", min: "0", max: "100", value: "50", class: "swiper off", "aria-label": "where A ends and B begins" });
      this.swiper.addEventListener("input", () => this.setMode("swipe"));
      return [made.box, this.swiper];
    }
    this.slider = element("input", { type: "range", min: "0", max: String(pictures.length - 1), value: "0", "aria-label": "checkpoint of the series" });
    this.frame = element("span", { class: "facts" });
    const play = element("button", { type: "button", text: "play", "aria-label": "play", onclick: () => this.play(play) });
    this.calm.addEventListener("change", () => this.playing && this.play(play));
    this.slider.addEventListener("input", () => this.setMode(/** @type {HTMLInputElement} */ (this.slider).value));
    return [element("span", { class: "series" }, play, this.slider, this.frame)];
  }

  /** @param {HTMLElement} button */
  play(button) {
    const stop = () => {
      clearInterval(this.playing);
      this.playing = 0;
      button.textContent = "play";
      button.setAttribute("aria-label", "play");
    };
    if (this.playing) return stop();
    if (this.calm.matches) return this.setMode(String((this.picture + 1) % this.model.pictures.length)); // one step: nothing moves by itself
    button.textContent = "pause";
    button.setAttribute("aria-label", "pause");
    this.playing = window.setInterval(() => this.setMode(String((this.picture + 1) % this.model.pictures.length)), 700);
  }

  /** @param {string} mode the number of a picture, or a way to stand beside each other */
  setMode(mode) {
    this.mode = mode;
    const swipe = Number(this.swiper?.value ?? 50) / 100;
    if (mode === "beside") this.view.arrange({ kind: "beside", pictures: [0, 1, 2], swipe });
    else if (mode === "swipe") this.view.arrange({ kind: "swipe", pictures: [0, 1], swipe });
    else this.view.arrange({ kind: "one", pictures: [Number(mode)], swipe });
    this.swiper?.classList.toggle("off", mode !== "swipe");
    if (this.modes) this.modes.value = mode;
    if (this.slider && this.frame) {
      this.slider.value = mode;
      this.frame.textContent = this.model.pictures[Number(mode)].label;
      this.slider.setAttribute("aria-valuetext", this.frame.textContent ?? "");
    }
    this.setLimits();
    this.moved();
  }

  /** @param {string} plane */
  setPlane(plane) {
    this.plane = plane;
    this.selects.planes.value = plane;
    this.setLimits();
    this.moved();
  }

  /** @param {string} kind */
  setKind(kind) {
    this.kind = kind;
    this.selects.kinds.value = kind;
    this.setLimits();
    this.moved();
  }

  /** @param {boolean} each a scale for each kind of tensor, or one for all */
  setEach(each) {
    this.each = each;
    if (this.eachBox) this.eachBox.checked = each;
    this.setLimits();
    this.moved();
  }

  /** The kind of tensor whose limits are shown: that of the open one, else the first; −1 where all have one scale. */
  shownKind() {
    return this.each ? this.atlas.kind_of[Math.max(this.tensor, 0)] : -1;
  }

  /** What limits that a person chose hold for: all levels. @param {number} picture @param {number} kind of tensors, −1 for all */
  ownKey(picture, kind) {
    return `${this.model.pictures[picture].scale}/${this.plane}/${this.kind}/${kind}`;
  }

  /** What limits hold for that come from the cells. @param {number} picture @param {number} level */
  limitsKey(picture, level, plane = this.plane, kind = this.kind) {
    return `${this.model.pictures[picture].scale}/${level}/${plane}/${kind}/${this.each ? "each" : "all"}`;
  }

  /** Ask for limits where they are not known, or may have moved. @param {number} picture @param {number} level @param {string} plane @param {string} kind */
  async askLimits(picture, level, plane, kind) {
    const key = this.limitsKey(picture, level, plane, kind);
    if (this.known.has(key) && !this.stale.has(key)) return;
    this.stale.delete(key);
    const coming = this.coming.get(key) ?? /** @type {Promise<any>} */ (this.each ? this.provider.kinds(picture, level, plane, kind) : this.provider.limits(picture, level, plane, kind));
    this.coming.set(key, coming);
    try {
      this.known.set(key, await coming);
    } catch (error) {
      this.say(error);
    }
    this.coming.delete(key);
  }

  /** Ask for the limits of what is shown, and show those of the first picture. @param {boolean} soon more is to be drawn soon */
  async setLimits(soon = false) {
    const { level } = this.view.camera;
    this.limited = level;
    for (const picture of this.view.arrangement.pictures) await this.askLimits(picture, level, this.plane, this.kind);
    this.showLimits();
    if (soon) this.view.drawSoon();
    else this.view.draw();
  }

  /** Another plane is likely to be chosen now: have the others, and their limits, of what is in sight. */
  async prepare() {
    this.view.tiles.prepare();
    const { level } = this.view.camera;
    const { planes } = this.model;
    for (const plane of planes) {
      for (const picture of this.view.arrangement.pictures) {
        if (this.view.camera.level !== level || !this.filled) return;
        await this.askLimits(picture, level, plane, this.kind);
      }
    }
    this.root.dataset.ready = `${level}/${this.kind}/${this.each ? "each" : "all"}`;
  }

  /** Show the limits of the first picture at the level in sight, or of one kind of tensor in it. */
  showLimits() {
    const kind = this.shownKind();
    const found = this.known.get(this.limitsKey(this.picture, this.view.camera.level));
    const shown = kind < 0 ? found : found?.[kind];
    const own = this.own.get(this.ownKey(this.picture, kind));
    if (shown) this.limits.set(shown, own?.low ?? shown.low, own?.high ?? shown.high, kind < 0 ? "" : this.atlas.kinds[kind]);
  }

  /** How values of a level become colours in a picture. @param {number} picture @param {number} level @returns {Look | null} */
  look(picture, level) {
    const key = this.limitsKey(picture, level);
    const found = this.known.get(key);
    if (!found) return null;
    if (!this.each) return this.lookOf(key, found, picture, -1);
    const kinds = /** @type {Look[]} */ (found.map((/** @type {any} */ each, /** @type {number} */ kind) => this.lookOf(`${key}/${kind}`, each, picture, kind)));
    const stamp = kinds.map((each) => each.stamp).join(" ");
    const known = this.looked.get(key);
    if (known?.stamp === stamp) return known;
    const look = { ...kinds[0], kinds, stamp };
    this.looked.set(key, look);
    return look;
  }

  /** @param {string} key @param {any} found limits @param {number} picture @param {number} kind of tensors, −1 for all @returns {Look} */
  lookOf(key, found, picture, kind) {
    const own = this.own.get(this.ownKey(picture, kind));
    const scale = { low: own?.low ?? found.low, high: own?.high ?? found.high, bend: found.bend };
    const map = this.model.maps[found.map];
    const signals = this.view.dark ? map.dark : map.light;
    const stamp = `${key}/${scale.low}/${scale.high}/${this.view.dark}`;
    const known = this.looked.get(key);
    if (known?.stamp === stamp) return known;
    map.lut ??= packedMap(bytesOf(map.rgb));
    const look = { ...coloursOf(scale, map.lut, signals), plane: this.plane, stamp };
    this.looked.set(key, look);
    return look;
  }

  retheme() {
    const dark = this.theme === "dark" || this.theme === "contrast" || (this.theme === "system" && this.dark.matches);
    this.root.dataset.theme = this.theme === "system" ? "" : this.theme;
    this.selects.themes.value = this.theme;
    this.view.dark = dark;
    this.view.ground = color("--ground", this.root);
    this.view.draw();
  }

  /** @param {{row: number, column: number, picture: number} | null} place @param {MouseEvent | null} event */
  pointed(place, event) {
    if (!place) return hideTip();
    if (event) showTip(event, this.told(place));
    else {
      this.spoken = place;
      this.arrived();
    }
  }

  /** Tell of the cell under the cursor, whose number may have come just now. */
  arrived() {
    if (!this.spoken) return;
    const text = this.told(this.spoken).filter(Boolean).join(" · ");
    if (this.readout.textContent !== text) this.readout.textContent = text;
  }

  /** The number of the tensor at a place, −1 for none. @param {number} row @param {number} column */
  tensorAt(row, column) {
    return this.view.places.tensorAt(row, column);
  }

  /** The cell of the level in sight at a place, with its weights as far as they are of one tensor. @param {{row: number, column: number}} place */
  cellAt({ row, column }) {
    const { level } = this.view.camera;
    const cell = this.atlas.cells[level];
    return { level, cell, row: Math.floor(row / cell[0]), column: Math.floor(column / cell[1]) };
  }

  /** What there is to say of a place. @param {{row: number, column: number, picture: number}} place @returns {string[]} */
  told(place) {
    const number = this.tensorAt(place.row, place.column);
    if (number < 0) return ["no weight here"];
    const [name, shape, dtype, , note] = this.atlas.tensors[number];
    const { level, cell, row, column } = this.cellAt(place);
    const own = this.blocks.get(number) ?? [];
    const found = own.length ? weightsOf(own, /** @type {[number, number]} */ (cell), row, column)[0] : undefined;
    const tile = this.view.tiles.get(place.picture, level, Math.floor(row / this.atlas.tile), Math.floor(column / this.atlas.tile));
    const lines = [name, `${shape.join(" × ") || "scalar"} · ${dtype}${note ? ` · ${note}` : ""}`];
    const module = this.moduleOf.get(number);
    if (module) lines.push(module);
    if (found) lines.push(indexText(found, shape, null));
    if (tile?.cells) {
      const at = (row % this.atlas.tile) * tile.cells.width + (column % this.atlas.tile);
      const value = planeOf(tile.cells, this.plane)?.[at];
      const many = found ? found.count : cell[0] * cell[1];
      if (!tile.cells.some[at]) lines.push("no weight here");
      else if (value !== undefined && many === 1) lines.push(`weight: ${brief(value, 6)}`);
      else if (value !== undefined) lines.push(`${NAMES[this.plane]} of ${level > this.atlas.base ? "at most " : ""}${grouped(many)} weights: ${brief(value, 4)}`);
    }
    return lines;
  }

  /** @param {{row: number, column: number, picture: number}} place */
  async chosen(place) {
    this.spoken = null;
    this.readout.textContent = this.told(place).filter(Boolean).join(" · ");
    const number = this.tensorAt(place.row, place.column);
    if (number >= 0) this.openDetails(number, place.picture);
    const { level, row, column } = this.cellAt(place);
    if (level > this.atlas.base) return;
    this.asking?.abort();
    this.asking = new AbortController();
    try {
      const found = await this.provider.cell(place.picture, level, row, column, this.asking.signal);
      const [one] = found.weights;
      if (!one) return;
      const name = this.atlas.tensors[one.tensor][0];
      const exact = one.value !== undefined ? `${name}[${one.first.join(", ")}] = ${one.value}` : `${name}: ${grouped(found.count)} weights, mean ${found.planes.mean}, RMS ${found.planes.rms}, from ${found.planes.min} to ${found.planes.max}`;
      this.readout.textContent = exact;
      this.root.dataset.exact = one.value ?? "";
    } catch (error) {
      if (!this.asking.signal.aborted) this.say(error);
    }
  }

  /** @param {number} number @param {number} picture */
  async openDetails(number, picture) {
    if (number === this.tensor && !this.panel.hidden) return;
    this.tensor = number;
    this.view.highlighted = number;
    this.view.draw();
    this.panel.hidden = false;
    if (this.each) this.showLimits();
    const waiting = new AbortController();
    this.waiting?.abort();
    this.waiting = waiting;
    this.details.name(number, this.atlas.tensors[number]);
    try {
      const found = await this.provider.tensor(picture, number, waiting.signal);
      if (this.tensor === number) this.details.show(found);
    } catch (error) {
      if (!waiting.signal.aborted) this.say(error);
    }
  }

  closeDetails() {
    this.panel.hidden = true;
    this.tensor = -1;
    this.view.highlighted = -1;
    this.view.draw();
    this.view.canvas.focus();
  }

  /** The rectangle of weights around what an entry of the outline stands for. @param {number[]} tensors @returns {[number, number, number, number] | null} */
  around(tensors) {
    const found = this.view.places.around(tensors);
    if (!found) return null;
    const [high, wide] = this.atlas.cells[this.atlas.base];
    return [found.top * high, found.left * wide, (found.bottom - found.top) * high, (found.right - found.left) * wide];
  }

  /** @param {import("./outline.js").Entry} entry */
  goTo(entry) {
    const around = this.around(entry.tensors);
    if (!around) return;
    this.root.classList.remove("listed");
    if (entry.tensor >= 0) this.openDetails(entry.tensor, this.picture); // takes room from the map, which is then shown in what is left
    this.view.resized();
    this.view.camera.show(around);
    this.view.cursor = null;
    const [first] = entry.tensors;
    const shape = /** @type {number[]} */ (this.atlas.tensors[first][1]);
    const middle = shape.reduce((flat, side) => flat * side + Math.floor(side / 2), 0);
    this.view.start = entry.tensor >= 0 ? placeOf(this.blocks.get(first) ?? [], middle) : null;
    this.view.changed();
  }

  /** @param {import("./outline.js").Entry | null} entry */
  lit(entry) {
    this.view.highlighted = entry && entry.tensor >= 0 ? entry.tensor : this.tensor;
    this.view.draw();
  }

  /** @param {number} tensor @param {number} flat */
  goToWeight(tensor, flat) {
    const place = placeOf(this.blocks.get(tensor) ?? [], flat);
    if (!place) return;
    const { camera } = this.view;
    camera.scale = 64 * this.view.ratio;
    camera.center(place.row + 0.5, place.column + 0.5);
    this.view.cursor = place;
    this.view.changed();
    this.chosen({ ...place, picture: this.picture });
  }

  moved() {
    if (this.view.camera.level !== this.limited) this.setLimits();
    clearTimeout(this.writing);
    this.writing = window.setTimeout(() => {
      this.written = `#${this.bookmark()}`;
      if (this.address) history.replaceState(null, "", this.written);
      if (this.filled) return;
      const seen = new Set(this.view.places.seen(this.view.camera.sight).map(({ tensor }) => tensor));
      if (seen.size < this.atlas.tensors.length) this.provider.look([...seen].slice(0, 60));
    }, 250);
  }

  /** The view in words that open it elsewhere: a tensor, the index of the weight in the middle, how large a weight is. @returns {string} */
  bookmark() {
    const { camera } = this.view;
    const state = new URLSearchParams();
    if (Math.abs(camera.scale - camera.fitting()) > 1e-9) {
      const middle = { row: camera.row + camera.height / 2 / camera.scale, column: camera.column + camera.width / 2 / camera.scale };
      const anchor = this.anchor({ row: Math.floor(middle.row), column: Math.floor(middle.column) });
      if (anchor) {
        state.set("at", anchor.text);
        const off = [anchor.down + (middle.row % 1) - 0.5, anchor.across + (middle.column % 1) - 0.5].map((each) => Number(each.toFixed(2)) || 0);
        if (off.some(Boolean)) state.set("off", off.join(","));
      }
      state.set("zoom", String(Number((camera.scale / this.view.ratio).toPrecision(4))));
    }
    if (this.plane !== "mean") state.set("show", this.plane);
    if (this.kind !== "auto") state.set("scale", this.kind);
    if (this.each) state.set("each", "kind");
    const own = this.own.get(this.ownKey(this.picture, this.shownKind()));
    if (own) state.set("limits", `${Number(own.low.toPrecision(6))},${Number(own.high.toPrecision(6))}`);
    if (this.mode !== "0") state.set("picture", this.mode);
    if (this.theme !== "system") state.set("colours", this.theme);
    return state.toString();
  }

  /** The weight nearest to a place, and how far it is. @param {{row: number, column: number}} place */
  anchor(place) {
    const [high, wide] = this.atlas.cells[this.atlas.base];
    let best = null;
    let least = Infinity;
    const here = this.view.places.within(place.row / high, place.column / wide, (place.row + 1) / high, (place.column + 1) / wide);
    for (const { tensor, top, left, bottom, right } of here.length ? here : [...this.view.places.of.values()].flat()) {
      const row = Math.min(Math.max(place.row, top * high), bottom * high - 1);
      const column = Math.min(Math.max(place.column, left * wide), right * wide - 1);
      const far = Math.abs(row - place.row) + Math.abs(column - place.column);
      if (far < least) [least, best] = [far, { number: tensor, row, column }];
    }
    if (!best) return null;
    const blocks = this.blocks.get(best.number) ?? [];
    const [found] = weightsOf(blocks, [1, 1], best.row, best.column);
    const [name, shape] = this.atlas.tensors[best.number];
    const index = found ? unravel(found.first, shape) : shape.map(() => 0);
    const there = placeOf(blocks, found ? found.first : 0) ?? { row: best.row, column: best.column };
    return { text: `${name}[${index.join(",")}]`, down: place.row - there.row, across: place.column - there.column };
  }

  /** Open the view that a bookmark tells. @param {string} hash */
  restore(hash) {
    const state = new URLSearchParams(hash.slice(1));
    this.written = hash;
    const plane = state.get("show");
    if (plane && this.model.planes.includes(plane)) this.plane = this.selects.planes.value = plane;
    const kind = state.get("scale");
    if (kind && KINDS.includes(kind)) this.kind = this.selects.kinds.value = kind;
    const theme = state.get("colours");
    if (theme && THEMES.includes(theme)) this.theme = theme;
    this.retheme();
    const mode = state.get("picture") ?? "0";
    const known = /^\d+$/.test(mode) ? Number(mode) < this.model.pictures.length : this.modes !== undefined && ["beside", "swipe"].includes(mode);
    this.setMode(known ? mode : "0");
    if (this.atlas.kinds.length > 1) this.setEach(state.get("each") === "kind");
    const limits = state.get("limits")?.split(",").map(Number) ?? [];
    if (limits.length === 2 && limits.every(Number.isFinite) && limits[0] < limits[1]) this.own.set(this.ownKey(this.picture, this.shownKind()), { low: limits[0], high: limits[1] });
    this.setLimits();
    const at = /^(.*)\[([\d,]*)\]$/s.exec(state.get("at") ?? "");
    const zoom = Number(state.get("zoom"));
    requestAnimationFrame(() => {
      this.root.dataset.drawn = "yes";
      const number = at ? this.atlas.tensors.findIndex((/** @type {any[]} */ [name]) => name === at[1]) : -1;
      if (!at || number < 0 || !(zoom > 0)) {
        if (!state.has("zoom")) this.view.camera.fit();
        this.view.draw();
        return;
      }
      const shape = this.atlas.tensors[number][1];
      const flat = at[2].split(",").filter(Boolean).map(Number).reduce((sum, digit, axis) => sum * shape[axis] + digit, 0);
      const place = placeOf(this.blocks.get(number) ?? [], flat);
      const [down, across] = (state.get("off") ?? "0,0").split(",").map(Number);
      if (!place) return;
      this.view.camera.scale = Math.min(zoom * this.view.ratio, 160);
      this.view.camera.center(place.row + (down || 0) + 0.5, place.column + (across || 0) + 0.5);
      this.setLimits();
    });
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const typing = event.target instanceof HTMLInputElement && !["range", "checkbox"].includes(event.target.type);
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
      this.root.classList.add("listed");
      this.outline.search.focus();
      this.outline.search.select();
      event.preventDefault();
    } else if (event.key === "Escape" && !typing && !this.panel.hidden) this.closeDetails();
  }

  /** @param {unknown} error */
  say(error) {
    this.banner.hidden = false;
    this.banner.textContent = error instanceof Error ? error.message : String(error);
  }

  /** An event of the server. @param {any} event */
  heard(event) {
    if (event.error) return this.say(event.error);
    if (event.grown) return this.grown(event.grown);
    const { picture, done, total, cells } = event;
    this.view.tiles.refresh(picture, cells);
    if (done === total) this.view.tiles.whole.add(picture);
    const last = picture === this.model.pictures.length - 1;
    this.filled = done === total && last;
    const many = this.model.pictures.length > 1 ? `, ${picture + 1} of ${this.model.pictures.length}` : "";
    this.progress.textContent = this.filled ? "" : `read ${grouped(done)} of ${grouped(total)} tensors${many}`;
    const now = performance.now();
    if (done === total || now - this.measured > 600) {
      this.measured = now;
      for (const key of this.known.keys()) if (key.startsWith(`${this.model.pictures[picture].scale}/`)) this.stale.add(key);
      this.setLimits(!this.filled);
    }
    this.view.ask();
    if (this.filled) this.finished();
  }

  /** Say that everything was read. */
  finished() {
    this.filled = true;
    this.model.pictures.forEach((/** @type {any} */ _, /** @type {number} */ picture) => this.view.tiles.whole.add(picture));
    this.progress.textContent = "";
    this.root.dataset.filled = "yes";
    this.setLimits();
    this.view.draw();
  }

  /** New checkpoints of a series. @param {any[]} pictures */
  grown(pictures) {
    this.model.pictures.push(...pictures);
    this.view.options.labels.push(...pictures.map((each) => each.label));
    if (this.slider) this.slider.max = String(this.model.pictures.length - 1);
    this.filled = false;
  }
}

/** Start the page. @param {HTMLElement} root */
export async function start(root) {
  const provider = new Http();
  try {
    const model = await provider.model();
    performance.mark("model");
    const explorer = new Explorer(provider, model, root);
    Object.assign(root, { explorer });
    requestAnimationFrame(() => requestAnimationFrame(() => performance.mark("drawn")));
    provider.listen((event) => explorer.heard(event), (alive) => {
      root.classList.toggle("alone", !alive);
      if (!alive) explorer.say("torch2grid has ended, or cannot be reached");
      else explorer.banner.hidden = true;
    });
  } catch (error) {
    root.append(element("p", { class: "banner", role: "alert", text: error instanceof Error ? error.message : String(error) }));
  }
}
