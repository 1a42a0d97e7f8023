import assert from "node:assert/strict";
import { test } from "node:test";

import { client } from "./modules.js";

const { blocksOf, guessedShape, indexText, indexTicks, placed, spanText, unravel, weightsOf } = await client("locate.js");

/** Every weight of a block with its row and column, one by one. */
function* walked([tensor, start, row, column, ...moves]) {
  const dims = [];
  for (let i = 0; i < moves.length; i += 3) dims.push(moves.slice(i, i + 3));
  const size = dims.reduce((product, [length]) => product * length, 1);
  for (let flat = 0; flat < size; flat++) {
    const digits = unravel(flat, dims.map(([length]) => length));
    const at = (step) => digits.reduce((sum, digit, axis) => sum + digit * dims[axis][step], 0);
    yield { tensor, index: start + flat, row: row + at(1), column: column + at(2) };
  }
}

const LAYOUTS = {
  matrix: [[0, 0, 0, 0, 6, 1, 0, 8, 0, 1]],
  transposed: [[0, 0, 0, 0, 6, 0, 1, 8, 1, 0]],
  backwards: [[0, 0, 5, 7, 6, -1, 0, 8, 0, -1]],
  kernels: [[0, 0, 0, 0, 4, 6, 0, 3, 0, 6, 5, 1, 0, 5, 0, 1]],
  bands: [[0, 0, 0, 0, 3, 1, 0, 7, 0, 1], [0, 21, 5, 0, 2, 1, 0, 7, 0, 1]],
  neighbours: [[0, 0, 0, 0, 5, 1, 0, 5, 0, 1], [1, 0, 0, 5, 5, 1, 0, 3, 0, 1], [2, 0, 5, 0]],
};

for (const [name, layout] of Object.entries(LAYOUTS)) {
  for (const cell of [[1, 1], [2, 2], [3, 2], [4, 4]]) {
    test(`cells of ${cell.join("×")} hold the weights that lie in them: ${name}`, () => {
      const wanted = new Map();
      for (const { tensor, index, row, column } of layout.flatMap((block) => [...walked(block)])) {
        const key = `${Math.floor(row / cell[0])},${Math.floor(column / cell[1])},${tensor}`;
        wanted.set(key, [...(wanted.get(key) ?? []), index]);
      }
      const blocks = blocksOf(layout);
      let found = 0;
      for (let row = 0; row < 30; row++) {
        for (let column = 0; column < 30; column++) {
          for (const weights of weightsOf(blocks, cell, row, column)) {
            const own = wanted.get(`${row},${column},${weights.tensor}`);
            assert.ok(own, `(${row}, ${column})`);
            assert.deepEqual([weights.first, weights.last, weights.count], [Math.min(...own), Math.max(...own), own.length]);
            const listed = weights.parts.flatMap(({ start, down, across }) => down.flatMap((one) => across.map((other) => start + one + other)));
            assert.deepEqual(listed.sort((a, b) => a - b), own.sort((a, b) => a - b));
            found++;
          }
        }
      }
      assert.equal(found, wanted.size);
    });
  }
}

test("indices are written as a person indexes", () => {
  const blocks = blocksOf(LAYOUTS.matrix);
  const text = (cell, row, column, taken) => indexText(weightsOf(blocks, cell, row, column)[0], [6, 8], taken);
  assert.equal(text([1, 1], 5, 7), "[5, 7]");
  assert.equal(text([2, 3], 1, 1), "[2…3, 3…5]");
  assert.equal(text([1, 1], 1, 2, [[10, 20, 2], 4, [0, 8, 1]]), "[12, 4, 2]");
  assert.equal(indexText({ tensor: 0, first: 0, last: 0, count: 1, parts: [] }, []), "the one number");
  assert.equal(indexText({ tensor: 0, first: 4, last: 1003, count: 1000, parts: [] }, null), "weights 4 … 1,003");
  assert.equal(indexText({ tensor: 0, first: 4, last: 9, count: 2, parts: [{ start: 4, down: [0], across: [0, 5] }] }, [6, 8]), "[0, 4] … [1, 1]");
  assert.deepEqual(placed([3, 1], [[0, 9, 3], [5, 9, 1]]), [9, 6]);
  assert.equal(spanText(3, 4), "12…15");
});

test("ticks are indices that the side has, each at its weight", () => {
  const sides = [
    { runs: [[0, 0, 1, 344]], cell: 9 },
    { runs: [[0, 1000, 1, 100]], cell: 1 },
    { runs: [[0, 3, 7, 14]], cell: 2 },
    { runs: [0, 97, 194].map((start) => [start, 10, 2, 96]), cell: 1 },
  ];
  for (const { runs, cell } of sides) {
    for (const [pixels, from, to] of [[9, 0, 1e6], [2, 0, 1e6], [40, 11, 30]]) {
      const found = indexTicks(runs, cell, pixels, 40, from, to);
      if (from === 0) assert.ok(found.length > runs.length || runs.length === 1);
      for (const { at, index } of found) {
        const [start, first, step, count] = runs.findLast((run) => run[0] <= at);
        const place = (index - first) / step;
        assert.ok(Number.isInteger(place) && place < count);
        assert.ok(Math.abs(at - start - (place + 0.5) / cell) < 1e-9 && at >= from && at <= to);
      }
      for (let k = 1; k < found.length; k++) assert.ok(found[k].at - found[k - 1].at >= 20 / pixels);
    }
  }
  assert.deepEqual(indexTicks([0, 9, 18].map((start) => [start, 0, 1, 8]), 1, 3, 40, 0, 99), []); // a 0 at each says nothing
});

test("a shape is guessed from blocks that say it", () => {
  assert.deepEqual(guessedShape(blocksOf(LAYOUTS.kernels), 0), null);
  assert.deepEqual(guessedShape(blocksOf(LAYOUTS.matrix), 0), [6, 8]);
  assert.deepEqual(guessedShape(blocksOf(LAYOUTS.bands), 0), [5, 7]);
  assert.equal(guessedShape(blocksOf(LAYOUTS.matrix), 1), null);
});
