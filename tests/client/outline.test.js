import assert from "node:assert/strict";
import { test } from "node:test";

import { client } from "./modules.js";

const { shortCount, treeOf } = await client("outline.js");
const { Places, boxesOf } = await client("places.js");

const TENSORS = [
  ["model.embed.weight", [10, 4]],
  ...[0, 1, 2].flatMap((layer) => [[`model.layers.${layer}.attn.q.weight`, [4, 4]], [`model.layers.${layer}.mlp.weight`, [8, 4]]]),
  ["model.layers.3.mlp.weight", [9, 4]],
  ["head", []],
];

test("names with dots are a tree with totals", () => {
  const [model, head] = treeOf(TENSORS);
  assert.deepEqual([model.name, model.tensors.length, model.weights, model.open], ["model", 8, 40 + 3 * 48 + 36, false]);
  assert.deepEqual([head.name, head.tensor, head.weights], ["head", 8, 1]);
  const layers = model.children[1];
  assert.deepEqual([layers.full, layers.depth, layers.children.length], ["model.layers", 1, 4]);
  assert.deepEqual(layers.children.map(({ alike }) => alike), [3, 1, 1, 1]);
  assert.deepEqual(layers.children.map(({ first }) => first?.name ?? ""), ["", "0", "0", ""]);
  const [leaf] = layers.children[0].children[0].children[0].children;
  assert.deepEqual([leaf.full, leaf.tensor, leaf.depth], ["model.layers.0.attn.q.weight", 1, 5]);
});

test("a single root is open, and a name that is a module too is both", () => {
  assert.equal(treeOf([["a.b", [2]], ["a.c", [2]]])[0].open, true);
  const found = treeOf([["a", [2]], ["a.b", [3]]]);
  assert.deepEqual(found.map(({ name, tensor }) => [name, tensor]), [["a", 0], ["a", -1]]);
  assert.deepEqual(treeOf([]), []);
});

test("counts in few letters", () => {
  assert.deepEqual([0, 999, 1000, 1234567, 4.5e9, 2e12].map(shortCount), ["0", "999", "1k", "1.23M", "4.5B", "2T"]);
});

// Rows of layers, each with two tensors, as an atlas lays them out; the fourth is in between of nothing.
const REGIONS = [[0, [[0, 0, 3, 10]]], ...[0, 1, 2].flatMap((layer) => [[1 + 2 * layer, [[4 + 3 * layer, 0, 2, 4]]], [2 + 2 * layer, [[4 + 3 * layer, 4, 2, 3], [4 + 3 * layer, 7, 1, 3]]]]), [7, [[13, 4, 2, 6]]]];
const MAP = { rows: 15 * 16, columns: 10 * 16, cells: [[1, 1], [4, 4], [16, 16]], base: 2, regions: REGIONS };

test("places are found as by trying all", () => {
  for (const scale of [1, 13, 97]) {
    const scaled = REGIONS.map(([tensor, rectangles]) => [tensor, rectangles.map((each) => each.map((side) => side * scale))]);
    const places = new Places({ ...MAP, rows: MAP.rows * scale, columns: MAP.columns * scale, regions: scaled });
    for (let turn = 0; turn < 400; turn++) {
      const [row, column] = [(turn * 7919) % (260 * scale), (turn * 104729) % (180 * scale)];
      const own = scaled.find(([, rectangles]) => rectangles.some(([t, l, h, w]) => row / 16 >= t && row / 16 < t + h && column / 16 >= l && column / 16 < l + w));
      assert.equal(places.tensorAt(row, column), own ? own[0] : -1);
      const [bottom, right] = [row / 16 + (turn % 5) * scale + 0.01, column / 16 + (turn % 3) * scale + 0.01];
      const met = scaled.flatMap(([tensor, rectangles]) => rectangles.filter(([t, l, h, w]) => t < bottom && t + h > row / 16 && l < right && l + w > column / 16).map(() => tensor));
      assert.deepEqual(places.within(row / 16, column / 16, bottom, right).map(({ tensor }) => tensor).sort(), met.sort());
    }
    assert.equal(places.tensorAt(-1, 5), -1);
    assert.equal(places.tensorAt(5, 1e9), -1);
  }
});

test("a module has a box where nothing else is inside", () => {
  const places = new Places(MAP);
  const boxes = boxesOf(treeOf(TENSORS), places, TENSORS.length);
  assert.deepEqual(boxes.map(({ text }) => text), ["model", "model.layers ×3", "model.layers.0", "model.layers.1", "model.layers.2"]);
  const [, , first] = boxes;
  assert.deepEqual([first.top, first.left, first.bottom, first.right], [4, 0, 6, 10]);
  const moved = new Places({ ...MAP, regions: [[0, [[4, 8, 1, 1]]], ...REGIONS.slice(1)] });
  assert.deepEqual(boxesOf(treeOf(TENSORS), moved, TENSORS.length).map(({ text }) => text), ["model", "model.layers.1", "model.layers.2"]);
});
