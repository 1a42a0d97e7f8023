import assert from "node:assert/strict";
import { test } from "node:test";

import { client } from "./modules.js";

const { fractionOf, paint } = await client("colours.js");
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
  const values = [0, 1, -1, 1.5, -1.5, NaN, Infinity, 0];
  const counts = [1, 1, 1, 1, 1, 1, 2, 0];
  const rgba = new Uint8ClampedArray(4 * values.length);
  const pixel = (index) => [...rgba.slice(4 * index, 4 * index + 4)];
  paint(rgba, values, (index) => counts[index], { low: -1, high: 1, bend: 0 }, map, signals);
  const { over, under, lost, empty } = signals;
  const wanted = [[128, 128, 128], [255, 255, 255], [0, 0, 0], over, under, lost, lost, empty];
  assert.deepEqual(values.map((_, index) => pixel(index)), wanted.map((rgb) => [...rgb, 255]));
  paint(rgba, values, (index) => counts[index], { low: -1, high: 1, bend: 0 }, map, signals, (value) => value > 0.5);
  assert.deepEqual(values.map((_, index) => pixel(index)[3]), [24, 255, 24, 255, 24, 24, 255, 24]);
});
