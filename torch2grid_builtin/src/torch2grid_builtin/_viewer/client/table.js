// Tables that sort by a click on a heading and filter by a word. Rows with NaN or Inf stand out, and come first where numbers sort.

/** @import { Context } from "./heatmap.js" */
import { breakable, element } from "./elements.js";
import { grouped, numeric } from "./format.js";
import { roving } from "./roving.js";

const FILTER_FROM = 15;
const LINE = 20; // letters for which a line of names or words has room at least, where there are so many

/**
 * Rows of text; *numbers* holds what a column that is sorted by numbers is sorted by.
 * @typedef {{columns: string[], rows: string[][], numbers: Record<string, any[]>, left_out: number}} Table
 */

/** The elements of a table. @param {Table} panel @param {{find: Context['find'], open: Context['open']}} context @returns {HTMLElement[]} */
export function tablePanel(panel, context) {
  const numbers = (/** @type {number} */ column) => panel.numbers[column];
  const order = panel.rows.map((_, index) => index);
  const isTotal = (/** @type {number} */ index) => panel.rows[index][0].startsWith("(") && index === panel.rows.length - 1;
  const counting = panel.columns.map((name) => /^[+-]?(NaN|Inf)$/.test(name));
  const isLost = panel.rows.map((_row, index) =>
    panel.columns.some((_, column) => {
      const value = numbers(column) ? numeric(numbers(column)[index]) : null;
      return value !== null && (counting[column] ? value > 0 : Number.isNaN(value));
    }),
  );
  /** @type {{column: number, down: boolean} | null} */
  let sorted = null;
  let arranged = () => {};
  // Words in the last column are what the table is read for: names give way to them.
  const last = panel.columns.length - 1;
  const worded = last > 0 && !numbers(last);
  const room = (/** @type {number} */ column) => `${Math.min(LINE, panel.rows.reduce((most, row) => Math.max(most, row[column].length), 0))}ch`;
  const body = element("tbody");
  const shown = panel.rows.map((row, index) => {
    const cells = row.map((text, column) => {
      const tensor = column === 0 ? context.find(text) : undefined;
      const parts = column === 0 && worded ? breakable(text) : [text];
      const content = tensor === undefined ? parts : [element("button", { type: "button", class: "link", onclick: () => context.open(tensor) }, ...parts)];
      return element("td", { class: numbers(column) ? "" : "text", title: text.length > 40 ? text : null }, ...content);
    });
    return element("tr", { class: [isTotal(index) && "total", isLost[index] && "lost"].filter(Boolean).join(" ") }, ...cells);
  });

  function arrange() {
    const places = [...order];
    if (sorted) {
      const { column, down } = sorted;
      const by = numbers(column)?.map(numeric);
      places.sort((a, b) => {
        if (isTotal(a) !== isTotal(b)) return isTotal(a) ? 1 : -1;
        if (!by) return (down ? -1 : 1) * panel.rows[a][column].localeCompare(panel.rows[b][column], undefined, { numeric: true });
        const [p, q] = [by[a], by[b]];
        if (isLost[a] !== isLost[b]) return isLost[a] ? -1 : 1;
        if (Number.isNaN(p) || Number.isNaN(q)) return Number(Number.isNaN(q)) - Number(Number.isNaN(p)) || a - b;
        if (p === null || q === null) return Number(p === null) - Number(q === null) || a - b;
        return (down ? q - p : p - q) || a - b;
      });
    }
    body.replaceChildren(...places.map((index) => shown[index]));
    arranged();
  }

  const headings = panel.columns.map((name, column) => {
    const heading = element("th", { scope: "col", class: numbers(column) ? "" : "text" });
    heading.append(
      element("button", {
        type: "button",
        text: name,
        title: "sort",
        onclick: () => {
          const first = Boolean(numbers(column));
          if (!sorted || sorted.column !== column) sorted = { column, down: first };
          else sorted = sorted.down === first ? { column, down: !first } : null;
          headings.forEach((each, index) => {
            if (sorted && sorted.column === index) each.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
            else each.removeAttribute("aria-sort");
          });
          arrange();
        },
      }),
    );
    return heading;
  });
  arrange();
  arranged = roving(body, ".link");
  const table = element("table", { class: worded ? "worded" : null }, element("thead", {}, element("tr", {}, ...headings)), body);
  if (worded) {
    table.style.setProperty("--names", room(0));
    table.style.setProperty("--words", room(last));
  }
  const parts = [element("div", { class: "scroll" }, table)];
  if (panel.rows.length >= FILTER_FROM) {
    const found = element("span", { class: "facts", text: `${grouped(panel.rows.length)} rows` });
    const input = element("input", { class: "search", type: "search", placeholder: "filter rows", "aria-label": "filter rows" });
    input.addEventListener("input", () => {
      const word = input.value.trim().toLowerCase();
      let count = 0;
      shown.forEach((row, index) => {
        row.hidden = word !== "" && !panel.rows[index].some((text) => text.toLowerCase().includes(word));
        count += row.hidden ? 0 : 1;
      });
      arranged();
      found.textContent = word ? `${grouped(count)} of ${grouped(panel.rows.length)} rows` : `${grouped(panel.rows.length)} rows`;
    });
    input.style.width = "16rem";
    input.style.margin = "0";
    parts.unshift(element("div", { class: "tools" }, input, found));
  }
  if (panel.left_out) parts.push(element("div", { class: "legend", text: `${grouped(panel.left_out)} more rows are not in this file` }));
  return parts;
}
