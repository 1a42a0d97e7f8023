// The explorer in a cell of a notebook: what it asks goes to Python as messages, and comes back with buffers.

import { element } from "./elements.js";
import { Explorer } from "./explore.js";
import { shaped } from "./tiles.js";

/** @import { Cells, Rectangle } from "./tiles.js" */

/** What a notebook gives a widget. @typedef {{on(name: string, heard: (message: any, buffers: DataView[]) => void): void, off(name: string, heard: Function): void, send(message: any): void}} Comm */

class Messages {
  /** @param {Comm} comm @param {(event: any) => void} heard */
  constructor(comm, heard) {
    this.comm = comm;
    /** @type {Map<number, {take: (value: any) => void, refuse: (error: Error) => void}>} */
    this.waiting = new Map();
    this.next = 0;
    /** @type {any} */
    this.map = null;
    this.received = (/** @type {any} */ message, /** @type {DataView[]} */ buffers) => {
      if (message.events) message.events.forEach(heard);
      const asked = this.waiting.get(message.id);
      if (!asked) return;
      this.waiting.delete(message.id);
      if (message.error) asked.refuse(new Error(message.error));
      else asked.take(buffers?.length ? buffers[0] : message.found);
    };
    comm.on("msg:custom", this.received);
  }

  /** @param {string} what @param {any[]} place @param {AbortSignal} [signal] @returns {Promise<any>} */
  ask(what, place, signal) {
    const id = this.next++;
    return new Promise((take, refuse) => {
      this.waiting.set(id, { take, refuse });
      signal?.addEventListener("abort", () => {
        this.waiting.delete(id);
        this.comm.send({ id, what: "drop", place: [] });
        refuse(new Error("nobody waits any more"));
      });
      this.comm.send({ id, what, place });
    });
  }

  async model() {
    const found = await this.ask("model", []);
    this.map = found.map;
    return found;
  }

  /** @param {number} picture @param {number} level @param {Rectangle} rectangle @param {string[]} planes @param {AbortSignal} signal @returns {Promise<Cells>} */
  async cells(picture, level, rectangle, planes, signal) {
    const finest = Math.max(...this.map.cells[level]) === 1;
    const view = await this.ask("cells", [picture, level, rectangle, finest ? ["mean"] : planes], signal);
    return shaped(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength), rectangle, planes, finest);
  }

  /** @param {number} picture @param {number} level @param {number} row @param {number} column @param {AbortSignal} signal */
  cell(picture, level, row, column, signal) {
    return this.ask("cell", [picture, level, row, column], signal);
  }

  /** @param {number} picture @param {number} tensor @param {AbortSignal} signal */
  tensor(picture, tensor, signal) {
    return this.ask("tensor", [picture, tensor], signal);
  }

  /** @param {number} picture @param {number} level @param {string} plane @param {string} kind */
  limits(picture, level, plane, kind) {
    return this.ask("limits", [picture, level, plane, kind]);
  }

  /** @param {number} picture @param {number} level @param {string} plane @param {string} kind */
  kinds(picture, level, plane, kind) {
    return this.ask("kinds", [picture, level, plane, kind]);
  }

  /** @param {number[]} tensors */
  look(tensors) {
    this.comm.send({ id: -1, what: "look", place: [tensors] });
  }
}

/** What a notebook calls for each place where the widget is shown. @param {{model: Comm, el: HTMLElement}} cell */
export function render({ model, el }) {
  const root = element("div");
  el.append(root);
  /** @type {any[]} */
  const early = [];
  /** @type {Explorer | null} */
  let explorer = null;
  const provider = new Messages(model, (event) => {
    if (explorer) explorer.heard(event);
    else early.push(event);
  });
  provider.model().then((about) => {
    explorer = new Explorer(provider, about, root, { address: false });
    Object.assign(root, { explorer });
    early.forEach((event) => explorer?.heard(event));
    model.send({ id: -1, what: "listen", place: [] });
  }).catch((error) => root.append(element("p", { class: "banner", role: "alert", text: String(error.message ?? error) })));
  return () => model.off("msg:custom", provider.received);
}
