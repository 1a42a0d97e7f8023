import assert from "node:assert/strict";
import { test } from "node:test";

import { client } from "./modules.js";

const { decoded, widthOf } = await client("numbers.js");
const { blocksOf, placeOf, weightsOf } = await client("locate.js");
const { gathered, reaching } = await client("static.js");
const { asinh, bentTicks } = await client("axes.js");

const patterns = (bits) => (bits === 8 ? Uint8Array : Uint16Array).from({ length: 1 << bits }, (_, pattern) => pattern);

/** A float of few bits as its definition says: sign, exponent with a bias, mantissa; the lowest exponent has no hidden one. */
function defined(pattern, bits, mantissa, special) {
  const exponent = bits - 1 - mantissa;
  const text = pattern.toString(2).padStart(bits, "0");
  const [sign, power, rest] = [text[0] === "1" ? -1 : 1, parseInt(text.slice(1, 1 + exponent), 2), parseInt(text.slice(1 + exponent), 2)];
  const bias = 2 ** (exponent - 1) - 1;
  const own = special(power, rest, 2 ** exponent - 1, 2 ** mantissa - 1);
  if (own !== undefined) return sign * own;
  return power ? sign * 2 ** (power - bias) * (1 + rest / 2 ** mantissa) : sign * 2 ** (1 - bias) * (rest / 2 ** mantissa);
}

const ieee = (power, rest, most) => (power === most ? (rest ? NaN : Infinity) : undefined);
const finite = (power, rest, most, ones) => (power === most && rest === ones ? NaN : undefined);

for (const [dtype, bits, mantissa, special, known] of [
  ["float16", 16, 10, ieee, { 0x3c00: 1, 0x7bff: 65504, 0x0001: 2 ** -24, 0x0400: 2 ** -14, 0xc000: -2, 0xfc00: -Infinity, 0x3555: 0.333251953125 }],
  ["bfloat16", 16, 7, ieee, { 0x3f80: 1, 0x7f7f: 3.3895313892515355e38, 0x0001: 2 ** -133, 0x4049: 3.140625, 0xff80: -Infinity }],
  ["float8_e4m3fn", 8, 3, finite, { 0x38: 1, 0x7e: 448, 0x01: 2 ** -9, 0x08: 2 ** -6, 0xb8: -1, 0x78: 256 }],
  ["float8_e5m2", 8, 2, ieee, { 0x3c: 1, 0x7b: 57344, 0x01: 2 ** -16, 0x7c: Infinity, 0xbc: -1 }],
]) {
  test(`every pattern of ${dtype} is its number`, () => {
    const values = decoded(patterns(bits).buffer, dtype);
    assert.equal(values.length, 1 << bits);
    for (let pattern = 0; pattern < 1 << bits; pattern++) {
      const wanted = defined(pattern, bits, mantissa, special);
      assert.ok(Object.is(values[pattern], wanted), `${pattern}: ${values[pattern]}, not ${wanted}`);
    }
    for (const [pattern, value] of Object.entries(known)) assert.equal(values[Number(pattern)], value);
    assert.equal(widthOf(dtype), bits / 8);
  });
}

test("integers and wide floats are read as they are", () => {
  const cases = [
    ["float64", new Float64Array([0.1, -1e300, NaN])], ["float32", new Float32Array([0.1, -1e30])], ["int8", new Int8Array([-128, 127])],
    ["uint8", new Uint8Array([0, 255])], ["int16", new Int16Array([-32768, 32767])], ["uint16", new Uint16Array([65535])],
    ["int32", new Int32Array([-2147483648, 2147483647])], ["uint32", new Uint32Array([4294967295])], ["bool", new Uint8Array([0, 1])],
  ];
  for (const [dtype, values] of cases) {
    assert.deepEqual([...decoded(values.buffer, dtype)], [...values], dtype);
    assert.equal(widthOf(dtype), values.BYTES_PER_ELEMENT);
  }
  assert.deepEqual([...decoded(new BigInt64Array([-5n, 2n ** 53n]).buffer, "int64")], [-5, 2 ** 53]);
  assert.deepEqual([...decoded(new BigUint64Array([2n ** 63n]).buffer, "uint64")], [2 ** 63]);
  assert.equal(widthOf("complex64"), 0);
  assert.throws(() => decoded(new ArrayBuffer(8), "complex64"), /not decoded here/);
});

const LAYOUTS = {
  matrix: [[0, 0, 3, 2, 12, 1, 0, 17, 0, 1]],
  transposed: [[0, 0, 0, 5, 12, 0, 1, 17, 1, 0]],
  backwards: [[0, 0, 20, 30, 12, -1, 0, 17, 0, -1]],
  kernels: [[0, 0, 1, 1, 4, 6, 0, 3, 0, 6, 5, 1, 0, 5, 0, 1]],
  bands: [[0, 0, 0, 0, 6, 1, 0, 9, 0, 1], [0, 54, 8, 0, 5, 1, 0, 9, 0, 1]],
  vector: [[0, 0, 2, 3, 11, 0, 1]],
  scalar: [[0, 0, 4, 4]],
};

/** Every weight of a block with its row and column. */
function* walked(block) {
  for (let flat = 0; flat < block.size; flat++) {
    let [row, column, left] = [block.row, block.column, flat];
    for (const { stride, down, across } of block.dims) {
      const digit = Math.floor(left / stride);
      left -= digit * stride;
      row += digit * down;
      column += digit * across;
    }
    yield { flat: block.start + flat, row, column };
  }
}

for (const [name, layout] of Object.entries(LAYOUTS)) {
  const blocks = blocksOf(layout);

  test(`where a weight is leads back to it: ${name}`, () => {
    for (const block of blocks) {
      for (const { flat, row, column } of walked(block)) {
        assert.deepEqual(placeOf(blocks, flat), { row, column });
        const [found] = weightsOf(blocks, [1, 1], row, column);
        assert.deepEqual([found.first, found.last, found.count], [flat, flat, 1]);
      }
    }
    assert.equal(placeOf(blocks, 1e9), null);
  });

  test(`what is read for a rectangle is all that is in it, and what is gathered is what lies there: ${name}`, () => {
    for (const [top, left, height, width, high, wide] of [[0, 0, 4, 4, 1, 1], [1, 0, 3, 2, 4, 4], [2, 1, 3, 9, 2, 2], [0, 0, 9, 9, 4, 4], [5, 3, 1, 1, 1, 1], [9, 9, 2, 2, 3, 3]]) {
      const part = { top, left, height, width, high, wide };
      const size = height * width;
      const made = () => ({ sum: new Float64Array(size), squares: new Float64Array(size), low: new Float64Array(size).fill(Infinity), high: new Float64Array(size).fill(-Infinity), count: new Int32Array(size) });
      const [into, wanted] = [made(), made()];
      for (const block of blocks) {
        const [first, last] = reaching(block, [top * high, left * wide, (top + height) * high, (left + width) * wide]);
        const stride = block.dims[0]?.stride ?? 1;
        assert.ok(0 <= first && first <= last && last <= (block.dims[0]?.length ?? 1));
        const values = (flat) => Math.sin(flat) * 10;
        gathered(block, first, last, Float64Array.from({ length: (last - first) * stride }, (_, at) => values(block.start + first * stride + at)), part, into);
        const used = new Set();
        for (const { flat, row, column } of walked(block)) {
          const [r, c] = [Math.floor(row / high) - top, Math.floor(column / wide) - left];
          if (r < 0 || c < 0 || r >= height || c >= width) continue;
          used.add(Math.floor((flat - block.start) / stride));
          const [at, value] = [r * width + c, values(flat)];
          wanted.sum[at] += value;
          wanted.squares[at] += value * value;
          wanted.low[at] = Math.min(wanted.low[at], value);
          wanted.high[at] = Math.max(wanted.high[at], value);
          wanted.count[at]++;
        }
        for (const digit of used) assert.ok(first <= digit && digit < last, `${digit} is not in ${first}…${last}`);
        if (block.dims.length && used.size) assert.deepEqual([Math.min(...used), Math.max(...used) + 1], [first, last], "no more than that is read");
      }
      assert.deepEqual(into, wanted);
    }
  });
}

test("a NaN in a cell is its least and its largest", () => {
  const [block] = blocksOf([[0, 0, 0, 0, 2, 1, 0, 2, 0, 1]]);
  for (const place of [0, 1, 2, 3]) {
    const into = { sum: new Float64Array(1), squares: new Float64Array(1), low: new Float64Array([Infinity]), high: new Float64Array([-Infinity]), count: new Int32Array(1) };
    gathered(block, 0, 2, Float64Array.from({ length: 4 }, (_, at) => (at === place ? NaN : at)), { top: 0, left: 0, height: 1, width: 1, high: 2, wide: 2 }, into);
    assert.deepEqual([into.low[0], into.high[0], into.count[0]], [NaN, NaN, 4]);
  }
});

test("a bent axis has the same ticks on both sides of 0", () => {
  for (const [low, high, bend] of [[-1100, 980, 0.02], [-0.3, 4000, 0.01], [-5, 5, 1]]) {
    const scale = asinh(low, high, bend, 0, 670);
    const ticks = bentTicks(low, high, bend, scale, 90);
    const inside = ticks.filter((tick) => Math.abs(tick) <= Math.min(-low, high));
    assert.deepEqual(inside.map((tick) => 0 - tick).reverse(), inside);
    assert.ok(ticks.length > 2);
  }
});
