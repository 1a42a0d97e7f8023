import assert from "node:assert/strict";
import { test } from "node:test";

import { client } from "./modules.js";

const { coloursOf, fade, fractionOf, packedMap, paintCells } = await client("colours.js");
const map = Uint8Array.from({ length: 768 }, (_, index) => Math.floor(index / 3));
const signals = { over: [255, 1, 0], under: [0, 255, 1], lost: [1, 0, 255], empty: [7, 8, 9] };

test("a scale goes from 0 to 1, straight or bent", () => {
  const straight = fractionOf({ low: -2, high: 2, bend: 0 });
  assert.deepEqual([-2, -1, 0, 1, 2].map(straight), [0, 0.25, 0.5, 0.75, 1]);
  const bent = fractionOf({ low: -2, high: 2, bend: 0.01 });
  assert.equal(bent(-2), 0);
  assert.equal(bent(0), 0.5);
  assert.equal(bent(2), 1);
  assert.ok(Math.abs(bent(0.02) - (0.5 + Math.asinh(2) / (2 * Math.asinh(200)))) < 1e-12);
  for (let value = -2; value < 1.9; value += 0.1) assert.ok(bent(value) < bent(value + 0.1));
});

test("a pixel has the colour of its value, or the one of what it is instead", () => {
  const values = new Float32Array([0, 1, -1, 1.5, -1.5, NaN, Infinity, -Infinity, 0]);
  const some = new Uint8Array([1, 1, 1, 1, 1, 1, 1, 1, 0]);
  const pixels = new Uint32Array(values.length);
  const pixel = (index) => [...new Uint8Array(pixels.buffer, 4 * index, 4)];
  paintCells(pixels, values, some, coloursOf({ low: -1, high: 1, bend: 0 }, packedMap(map), signals));
  const { over, under, lost, empty } = signals;
  const wanted = [[128, 128, 128], [255, 255, 255], [0, 0, 0], over, under, lost, lost, lost, empty];
  const seen = [...values].map((_, index) => pixel(index));
  assert.deepEqual(seen, wanted.map((rgb) => [...rgb, 255]));
  fade(pixels, values, some, (value) => value > 0.5);
  assert.deepEqual([...values].map((_, index) => pixel(index)[3]), [24, 255, 24, 255, 24, 24, 255, 24, 24]);
  assert.deepEqual([...values].map((_, index) => pixel(index).slice(0, 3)), wanted); // faint, of the same colours
});
