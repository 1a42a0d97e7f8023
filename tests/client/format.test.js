import assert from "node:assert/strict";
import { test } from "node:test";

import { client } from "./modules.js";

const { brief, exactly, finite, grouped, numeric, percent, ticks } = await client("format.js");

test("numbers are brief, and what is no number has a word", () => {
  const told = [0, 1.23456, -0.5, 1234567, 1e-7, -2.5e-9, NaN, Infinity, -Infinity, null, "NaN", "-Infinity"].map((value) => brief(value));
  assert.deepEqual(told, ["0", "1.23", "−0.5", "1.23e6", "1e−7", "−2.5e−9", "NaN", "Inf", "−Inf", "–", "NaN", "−Inf"]);
  assert.deepEqual(finite([1, "NaN", null, "Infinity", 2]), [1, 2]);
  assert.equal(numeric("-Infinity"), -Infinity);
  assert.deepEqual([0.5, 0.12345, 0.00001].map(percent), ["50 %", "12 %", "<0.01 %"]);
  assert.equal(grouped(1234567), "1,234,567");
});

test("a float32 is written with as many digits as find it again", () => {
  const bits = new Uint32Array(1);
  const float = new Float32Array(bits.buffer);
  let state = 12345;
  let known = 0;
  for (let i = 0; i < 20000; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bits[0] = state;
    if (!Number.isFinite(float[0])) continue;
    known++;
    const text = exactly(float[0]).replaceAll("−", "-");
    assert.equal(Math.fround(Number(text)), float[0] === 0 ? 0 : float[0], text);
  }
  assert.ok(known > 19000);
});

test("ticks are round, inside and about as many as wanted", () => {
  for (const [low, high] of [[0, 1], [-3, 7], [1e-9, 3e-9], [-1e300, 1e300], [99.5, 100.5]]) {
    const found = ticks(low, high, 5);
    const slack = (high / 1e6 - low / 1e6) * 1e-3;
    assert.ok(found.length >= 2 && found.length <= 11, `${low}…${high}: ${found}`);
    assert.ok(found.every((tick) => tick >= low - slack && tick <= high + slack));
  }
  assert.deepEqual(ticks(0, 1, 5), [0, 0.2, 0.4, 0.6, 0.8, 1]);
  assert.deepEqual(ticks(2, 2, 5), [2]);
});
