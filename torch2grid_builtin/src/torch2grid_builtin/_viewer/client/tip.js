// The tooltip: one box beside the pointer, a line in bold and others below it.

import { element } from "./elements.js";

/** @type {HTMLElement | null} */
let box = null;

/** The box, which the page puts where it wants it. @returns {HTMLElement} */
export function tipBox() {
  box ??= element("div", { class: "tip", role: "status", hidden: true });
  return box;
}

/** Show lines beside the pointer; empty ones are left out. @param {{clientX: number, clientY: number}} event @param {(string | undefined)[]} lines */
export function showTip(event, lines) {
  const tip = tipBox();
  tip.replaceChildren(
    ...lines.filter(Boolean).map((line, index) => element("div", {}, element(index ? "span" : "b", { text: line }))),
  );
  tip.hidden = false;
  const room = tip.getBoundingClientRect();
  const left = event.clientX + 16 + room.width > innerWidth ? event.clientX - 12 - room.width : event.clientX + 16;
  const top = event.clientY + 16 + room.height > innerHeight ? event.clientY - 12 - room.height : event.clientY + 16;
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${Math.max(4, top)}px`;
}

/** Show nothing. */
export function hideTip() {
  tipBox().hidden = true;
}
