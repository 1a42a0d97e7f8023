// Elements, numbers and the tooltip. Text only ever becomes text nodes: names come from files.

const SVG = "http://www.w3.org/2000/svg";

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") made.textContent = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

function drawn(tag, attributes = {}, text = null) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== null) made.textContent = text;
  return made;
}

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const grouped = (count) => Number(count).toLocaleString("en-US");

// Numbers that JSON has no word for travel as text.
const numeric = (value) => (typeof value === "string" ? { NaN: NaN, Infinity: Infinity, "-Infinity": -Infinity }[value] : value);

function brief(value, digits = 3) {
  value = numeric(value);
  if (value === null || value === undefined) return "–";
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "Inf" : "−Inf";
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text = size >= 1e6 || size < 1e-4 ? value.toExponential(digits - 1).replace(/\.?0+e/, "e") : String(Number(value.toPrecision(digits)));
  return text.replace("-", "−").replace("e−", "e-").replace("e-", "e−").replace("e+", "e");
}

// A float32 with as few digits as tell it from its neighbours.
function exactly(value) {
  if (!Number.isFinite(value)) return brief(value);
  for (let digits = 6; digits <= 9; digits++) if (Math.fround(Number(value.toPrecision(digits))) === value) return brief(value, digits);
  return brief(value, 9);
}

function percent(share) {
  return share >= 0.0001 ? `${Number((100 * share).toPrecision(2))} %` : "<0.01 %";
}

function ticks(low, high, wanted) {
  if (!(high > low)) return [low];
  const rough = high / wanted - low / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((each) => each * power >= rough) * power;
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) found.push(Number((k * step).toPrecision(12)));
  return found;
}

const tip = element("div", { class: "tip", role: "status", hidden: true });

function showTip(event, lines) {
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

function hideTip() {
  tip.hidden = true;
}

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
