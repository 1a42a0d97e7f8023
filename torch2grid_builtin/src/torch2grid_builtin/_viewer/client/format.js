// Numbers as text, and the round numbers of an axis. Nothing here needs a page.

/** @param {number} value @param {number} low @param {number} high */
export const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** A count with commas between thousands. @param {number | string} count @returns {string} */
export const grouped = (count) => Number(count).toLocaleString("en-US");

/** Numbers that JSON has no word for travel as text. @param {any} value @returns {any} */
export const numeric = (value) => (typeof value === "string" ? { NaN: NaN, Infinity: Infinity, "-Infinity": -Infinity }[value] : value);

/** The numbers of a list that are finite. @param {any[]} numbers @returns {number[]} */
export function finite(numbers) {
  return numbers.map(numeric).filter((value) => value !== null && Number.isFinite(value));
}

/** A number in few digits. @param {any} value @param {number} digits @returns {string} */
export function brief(value, digits = 3) {
  value = numeric(value);
  if (value === null || value === undefined) return "–";
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "Inf" : "−Inf";
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text = size >= 1e6 || size < 1e-4 ? value.toExponential(digits - 1).replace(/\.?0+e/, "e") : String(Number(value.toPrecision(digits)));
  return text.replace("-", "−").replace("e−", "e-").replace("e-", "e−").replace("e+", "e");
}

/** A float32 with as few digits as tell it from its neighbours. @param {number} value @returns {string} */
export function exactly(value) {
  if (!Number.isFinite(value)) return brief(value);
  for (let digits = 6; digits <= 9; digits++) if (Math.fround(Number(value.toPrecision(digits))) === value) return brief(value, digits);
  return brief(value, 9);
}

/** @param {number} share of 1 @returns {string} */
export function percent(share) {
  return share >= 0.0001 ? `${Number((100 * share).toPrecision(2))} %` : "<0.01 %";
}

/** Round numbers from *low* to *high*, about as many as wanted. @param {number} low @param {number} high @param {number} wanted @returns {number[]} */
export function ticks(low, high, wanted) {
  if (!(high > low)) return [low];
  const rough = high / wanted - low / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = ([1, 2, 5].find((each) => each * power >= rough) ?? 10) * power;
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) found.push(Number((k * step).toPrecision(12)));
  return found;
}
