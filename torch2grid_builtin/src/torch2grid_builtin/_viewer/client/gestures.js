// Pointers over a canvas: one drags, two pinch, a wheel zooms, and one that stays where it is chooses.

import { clamp } from "./format.js";

const STILL = 5; // CSS pixels that a pointer may travel and still choose

/**
 * What a canvas does with them. point: where an event is, in device pixels; zoom: about such a point; move: by device pixels; hover: over the canvas, or null where
 * nothing is to be told of; wheels: whether the wheel is the canvas's, not the page's; tap: a place was chosen; drags: a pointer was pressed, or the last one let go.
 * @typedef {{x: number, y: number}} Point
 * @typedef {{point(event: {clientX: number, clientY: number}): Point, zoom(factor: number, at: Point): void, move(dx: number, dy: number): void, hover(event: MouseEvent | null): void,
 *   wheels(event: WheelEvent): boolean, tap?(event: PointerEvent): void, drags?(pressed: boolean): void}} Hand
 */

/** Let pointers act on *canvas*. @param {HTMLCanvasElement} canvas @param {Hand} hand */
export function handle(canvas, hand) {
  /** @type {Map<number, PointerEvent>} */
  const pointers = new Map();
  let travelled = 0;
  canvas.addEventListener("wheel", (event) => {
    if (!hand.wheels(event)) return;
    event.preventDefault();
    const by = event.deltaY * (event.deltaMode === 1 ? 30 : event.deltaMode === 2 ? 240 : 1);
    hand.zoom(Math.exp(-clamp(by, -240, 240) / 240), hand.point(event));
    hand.hover(event);
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    canvas.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, event);
    travelled = 0;
    hand.drags?.(true);
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return hand.hover(event);
    const [dx, dy] = [event.clientX - before.clientX, event.clientY - before.clientY];
    travelled += Math.abs(dx) + Math.abs(dy);
    const other = [...pointers.values()].find((each) => each.pointerId !== event.pointerId);
    if (other) {
      const apart = (/** @type {PointerEvent} */ each) => Math.hypot(each.clientX - other.clientX, each.clientY - other.clientY) || 1;
      const middle = { clientX: (before.clientX + other.clientX) / 2, clientY: (before.clientY + other.clientY) / 2 };
      hand.zoom(apart(event) / apart(before), hand.point(middle));
    }
    const share = devicePixelRatio / (other ? 2 : 1);
    hand.move(dx * share, dy * share);
    pointers.set(event.pointerId, event);
    hand.hover(null);
  });
  for (const name of /** @type {("pointerup" | "pointercancel")[]} */ (["pointerup", "pointercancel"])) {
    canvas.addEventListener(name, (event) => {
      const was = pointers.delete(event.pointerId);
      hand.drags?.(pointers.size > 0);
      if (was && name === "pointerup" && travelled < STILL) hand.tap?.(event);
    });
  }
  canvas.addEventListener("pointerleave", () => hand.hover(null));
}
