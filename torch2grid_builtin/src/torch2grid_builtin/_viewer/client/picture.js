// The current view as a file, with what its colours mean and the command that draws it.

import { element, penOf, widthOf } from "./elements.js";
import { brief } from "./format.js";

/** @import { Explorer } from "./explore.js" */

/** A text as one word of a shell. @param {string} text */
const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

/** The command line that draws what is in sight: one tensor's part, or the whole map. @param {Explorer} explorer @returns {string} */
export function commandOf(explorer) {
  const { view, atlas, model } = explorer;
  const look = explorer.look(explorer.picture, explorer.view.camera.level);
  const limits = look ? ` --limits=${Number(look.scale.low.toPrecision(6))},${Number(look.scale.high.toPrecision(6))}` : "";
  const colours = `${explorer.plane === "mean" ? "" : ` --reduce ${explorer.plane}`}${limits}`;
  const [top, left, bottom, right] = view.camera.sight.map(Math.floor);
  const [number, other] = [explorer.tensorAt(top, left), explorer.tensorAt(bottom - 1, right - 1)];
  const location = quoted(model.locations[explorer.picture] ?? model.locations[0]);
  if (number >= 0 && number === other) {
    const [from, to] = [explorer.anchor({ row: top, column: left }), explorer.anchor({ row: bottom - 1, column: right - 1 })];
    const digits = (/** @type {{text: string} | null} */ each) => (/\[([\d,]*)\]$/.exec(each?.text ?? "")?.[1] ?? "").split(",").filter(Boolean).map(Number);
    const [low, high] = [digits(from), digits(to)];
    if (low.length && low.every((digit, axis) => digit <= high[axis])) {
      const slice = low.map((digit, axis) => `${digit}:${high[axis] + 1}`).join(", ");
      return `torch2grid ${location} --layers --only ${quoted(atlas.tensors[number][0])} --slice '${slice}'${colours}`;
    }
  }
  return `torch2grid ${location} --plugin ${quoted(model.transformer)}${colours}`;
}

/** @param {Explorer} explorer @returns {string[]} */
function captions(explorer) {
  const look = explorer.look(explorer.picture, explorer.view.camera.level);
  const scale = look ? `${explorer.plane}, colours from ${brief(look.scale.low, 4)} to ${brief(look.scale.high, 4)}${look.scale.bend ? " (asinh)" : ""}` : "";
  const [high, wide] = explorer.atlas.cells[explorer.view.camera.level];
  return [`${explorer.model.title} · a cell is ${high * wide === 1 ? "one weight" : `${high} × ${wide} weights`} · ${scale}`, commandOf(explorer)];
}

/** @param {string} name @param {Blob} blob */
function save(name, blob) {
  const address = URL.createObjectURL(blob);
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** @param {Explorer} explorer */
export function savedPng(explorer) {
  const { canvas, ratio, dark } = explorer.view;
  const lines = captions(explorer);
  const made = element("canvas");
  const strip = Math.round((14 + 20 * lines.length) * ratio);
  [made.width, made.height] = [canvas.width, canvas.height + strip];
  const pen = penOf(made);
  pen.fillStyle = dark ? "#12161c" : "#ffffff";
  pen.fillRect(0, 0, made.width, made.height);
  pen.drawImage(canvas, 0, 0);
  pen.fillStyle = dark ? "#e6eaf0" : "#1b2330";
  pen.textBaseline = "top";
  lines.forEach((line, place) => {
    let size = 13 * ratio;
    pen.font = `${size}px system-ui, sans-serif`;
    size = Math.min(size, (size * (made.width - 20 * ratio)) / Math.max(widthOf(pen, line), 1));
    pen.font = `${size}px system-ui, sans-serif`;
    pen.fillText(line, 10 * ratio, canvas.height + (7 + 20 * place) * ratio);
  });
  made.toBlob((blob) => blob && save("torch2grid.png", blob), "image/png");
}

/** @param {Explorer} explorer */
export function savedSvg(explorer) {
  const { canvas, ratio } = explorer.view;
  const [width, height] = [canvas.width / ratio, canvas.height / ratio];
  const escaped = (/** @type {string} */ text) => text.replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);
  const lines = captions(explorer).map((line, place) => `<text x="10" y="${height + 20 + 20 * place}" font-family="system-ui, sans-serif" font-size="13" textLength="${Math.min(width - 20, line.length * 6.8)}" lengthAdjust="spacingAndGlyphs">${escaped(line)}</text>`);
  const image = `<image width="${width}" height="${height}" href="${canvas.toDataURL("image/png")}"/>`;
  const text = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height + 56}" width="${width}" height="${height + 56}"><rect width="100%" height="100%" fill="#fff"/>${image}${lines.join("")}</svg>\n`;
  save("torch2grid.svg", new Blob([text], { type: "image/svg+xml" }));
}
