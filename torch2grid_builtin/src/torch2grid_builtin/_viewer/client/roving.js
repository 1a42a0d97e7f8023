// One stop of the tab key for many elements: the arrow keys, Home and End move among them.

/**
 * Let the elements that *container* holds now and that match *selector* be one tab stop. Call the returned function when some were hidden or shown.
 * @param {HTMLElement} container @param {string} selector @returns {(stop?: HTMLElement) => void} which may be told where the stop is to be
 */
export function roving(container, selector) {
  const shown = (/** @type {HTMLElement} */ each) => !each.closest("[hidden]");
  const every = () => /** @type {HTMLElement[]} */ ([...container.querySelectorAll(selector)]);
  /** @type {HTMLElement | undefined} */
  let stop;
  for (const each of every()) each.tabIndex = -1;
  const move = (/** @type {HTMLElement | undefined} */ to = undefined) => {
    const kept = [to, stop].find((each) => each && container.contains(each) && shown(each));
    const next = kept ?? every().find(shown);
    if (next === stop) return;
    if (stop) stop.tabIndex = -1;
    if (next) next.tabIndex = 0;
    stop = next;
  };
  container.addEventListener("focusin", (event) => {
    const found = event.target instanceof Element ? event.target.closest(selector) : null;
    if (!(found instanceof HTMLElement) || found === stop) return;
    if (stop) stop.tabIndex = -1;
    found.tabIndex = 0;
    stop = found;
  });
  container.addEventListener("keydown", (event) => {
    if (!["ArrowDown", "ArrowUp", "Home", "End"].includes(event.key) || event.ctrlKey || event.altKey || event.metaKey) return;
    if (!(event.target instanceof Element) || !event.target.closest(selector)) return;
    const seen = every().filter(shown);
    const place = seen.findIndex((each) => each === event.target);
    const to = { ArrowDown: place + 1, ArrowUp: place - 1, Home: 0, End: seen.length - 1 }[event.key] ?? 0;
    event.preventDefault();
    const next = seen[Math.min(Math.max(to, 0), seen.length - 1)];
    next?.focus();
  });
  move();
  return move;
}
