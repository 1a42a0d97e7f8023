// What a page asks the server that it came from. Answers are planes, plain data and events.

/** @import { Cells, Rectangle } from "./tiles.js" */
import { shaped } from "./tiles.js";

/** @param {string} address @param {AbortSignal} [signal] @returns {Promise<any>} */
async function plain(address, signal) {
  const answer = await fetch(address, { signal });
  if (!answer.ok) throw new Error((await answer.text()).trim() || `the server answers ${answer.status}`);
  return answer.json();
}

export class Http {
  constructor() {
    /** @type {any} */
    this.map = null;
  }

  /** All that is known before the first tile. @returns {Promise<any>} */
  async model() {
    const found = await plain("/api/model");
    this.map = found.map;
    return found;
  }

  /** @param {number} picture @param {number} level @param {Rectangle} rectangle @param {string[]} planes @param {AbortSignal} signal @returns {Promise<Cells>} */
  async cells(picture, level, rectangle, planes, signal) {
    const finest = Math.max(...this.map.cells[level]) === 1;
    const answer = await fetch(`/api/cells/${picture}/${level}/${rectangle.join("/")}/${(finest ? ["mean"] : planes).join(",")}`, { signal });
    if (!answer.ok) throw new Error(await answer.text());
    return shaped(await answer.arrayBuffer(), rectangle, planes, finest);
  }

  /** @param {number} picture @param {number} level @param {number} row @param {number} column @param {AbortSignal} signal */
  cell(picture, level, row, column, signal) {
    return plain(`/api/cell/${picture}/${level}/${row}/${column}`, signal);
  }

  /** @param {number} picture @param {number} tensor @param {AbortSignal} signal */
  tensor(picture, tensor, signal) {
    return plain(`/api/tensor/${picture}/${tensor}`, signal);
  }

  /** @param {number} picture @param {number} level @param {string} plane @param {string} kind */
  limits(picture, level, plane, kind) {
    return plain(`/api/limits/${picture}/${level}/${plane}/${kind}`);
  }

  /** The same for each kind of tensor. @param {number} picture @param {number} level @param {string} plane @param {string} kind @returns {Promise<any[]>} */
  kinds(picture, level, plane, kind) {
    return plain(`/api/kinds/${picture}/${level}/${plane}/${kind}`);
  }

  /** Say what is looked at, so that it is read first. @param {number[]} tensors */
  look(tensors) {
    fetch(`/api/look/${tensors.join(",") || "none"}`).catch(() => {});
  }

  /** Hear what happens. @param {(event: any) => void} heard @param {(alive: boolean) => void} alive */
  listen(heard, alive) {
    const events = new EventSource("/api/events");
    events.onmessage = (event) => JSON.parse(event.data).events.forEach(heard);
    events.onopen = () => alive(true);
    events.onerror = () => alive(false);
  }
}
