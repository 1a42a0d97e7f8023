import assert from "node:assert/strict";
import { test } from "node:test";

import { client } from "./modules.js";

const { Tiles, joined, paintParts, planeOf, shaped } = await client("tiles.js");
const { colourOf, packedColour, packedMap, paintCells } = await client("colours.js");

const MAP = { rows: 1000, columns: 700, cells: [[1, 1], [2, 2], [4, 4]], tile: 256 };
const lut = Uint32Array.from({ length: 256 }, (_, place) => 1000 + place);
const look = (low, high, bend = 0, lost = 3) => ({ plane: "mean", scale: { low, high, bend }, lut, over: 1, under: 2, lost, empty: 4, stamp: "" });

test("what the server sends has planes one after the other, and then where there are weights", () => {
  const [height, width] = [Math.ceil(1000 / 2) - 256, Math.ceil(700 / 2) - 256];
  const size = height * width;
  const bytes = new ArrayBuffer(2 * 4 * size + size);
  new Float32Array(bytes, 0, size).fill(1.5);
  new Float32Array(bytes, 4 * size, size).fill(-2);
  new Uint8Array(bytes, 8 * size, size).fill(1, 3);
  const cells = shaped(bytes, [256, 256, height, width], ["rms", "max"], false);
  assert.deepEqual([cells.height, cells.width], [height, width]);
  assert.deepEqual([cells.planes.rms[0], cells.planes.max.at(-1), cells.some[2], cells.some[3]], [1.5, -2, 0, 1]);
  const finest = shaped(new ArrayBuffer(5 * 256 * 256), [0, 0, 256, 256], ["rms", "max"], true);
  assert.deepEqual(Object.keys(finest.planes), ["value"]);
  finest.planes.value[7] = -3;
  assert.deepEqual(["mean", "rms", "min", "max"].map((name) => planeOf(finest, name)[7]), [-3, 3, -3, -3]);
  assert.equal(planeOf(cells, "min"), undefined);
});

test("colours are packed as pixels are stored", () => {
  assert.deepEqual([...new Uint8Array(new Uint32Array([packedColour([1, 2, 250])]).buffer)], [1, 2, 250, 255]);
  const map = packedMap(Uint8Array.from({ length: 768 }, (_, i) => i % 251));
  assert.equal(map[9], packedColour([27, 28, 29]));
});

test("a value takes floor(256 · fraction) of the map; what has no place on it takes a colour of its own", () => {
  const values = new Float32Array([-1, -0.5, 0, 0.999, 1, 1.01, -1.01, NaN, Infinity, -Infinity, 0.3, 9]);
  const some = new Uint8Array(values.length).fill(1);
  some[11] = 0;
  const pixels = new Uint32Array(values.length);
  paintCells(pixels, values, some, look(-1, 1));
  assert.deepEqual([...pixels], [1000, 1064, 1128, 1255, 1255, 1, 2, 3, 3, 3, 1000 + Math.floor(128 * 1.3), 4]);
  for (const value of [-0.9, -1e-3, 1e-5, 0.02, 0.8]) {
    const fraction = (Math.asinh(Math.fround(value) / 0.01) + Math.asinh(100)) / (2 * Math.asinh(100));
    assert.equal(colourOf(value, look(-1, 1, 0.01)), 1000 + Math.floor(256 * fraction));
  }
  const part = new Uint32Array(values.length);
  paintCells(part, values, some, look(-1, 1), 3, 6);
  assert.deepEqual([...part], [0, 0, 0, 1255, 1255, 1, 0, 0, 0, 0, 0, 0]);
});

test("each kind of tensor has its own scale, and a smaller tensor hides a larger one", () => {
  const values = new Float32Array(24).fill(0.5);
  const some = new Uint8Array(24).fill(1);
  some[23] = 0;
  const pixels = new Uint32Array(24);
  const own = { ...look(0, 1), kinds: [look(0, 1), look(0, 0.4)] };
  paintParts(pixels, values, some, own, [{ kind: 0, top: 0, left: 0, bottom: 4, right: 5 }, { kind: 1, top: 1, left: 2, bottom: 3, right: 6 }], 6);
  const at = (row, column) => pixels[6 * row + column];
  assert.deepEqual([at(0, 0), at(1, 1), at(1, 2), at(2, 5), at(3, 2), at(0, 5), at(3, 5)], [1128, 1128, 1, 1, 1128, 4, 4]);
});

/** A provider that answers when it is told to. */
function waiting() {
  const asked = [];
  return {
    asked,
    cells(picture, level, rectangle, planes, signal) {
      return new Promise((take, refuse) => {
        const [, , height, width] = rectangle;
        const size = height * width;
        asked.push({ rectangle, planes, signal, refuse, give: (value = 0) => take({ height, width, planes: Object.fromEntries(planes.map((name) => [name, new Float32Array(size).fill(value)])), some: new Uint8Array(size).fill(1) }) });
      });
    },
  };
}

const soon = () => new Promise((done) => setTimeout(done, 5));
globalThis.window = globalThis;

test("tiles in sight are asked for, the middle first, each once; others are dropped; one that fails is not asked again and again", async () => {
  const provider = waiting();
  const tiles = new Tiles(provider, MAP, () => {});
  const sight = tiles.within(0, [0, 0, 1000, 700]);
  assert.equal(sight.length, 12);
  assert.deepEqual(sight[0].column, 1);
  assert.deepEqual(tiles.within(0, [256, 256, 512, 512]), [{ row: 1, column: 1 }]);
  const wanted = sight.slice(0, 3).map((each) => ({ picture: 0, level: 0, ...each }));
  tiles.want(wanted, ["mean"]);
  tiles.want(wanted, ["mean"]);
  assert.equal(provider.asked.length, 3);
  tiles.want(wanted.slice(0, 2), ["mean"]);
  assert.deepEqual(provider.asked.map(({ signal }) => signal.aborted), [false, false, true]);
  provider.asked[0].give();
  provider.asked[1].refuse(new Error("no"));
  await soon();
  tiles.want(wanted.slice(0, 2), ["mean"]);
  assert.ok(tiles.get(0, 0, wanted[0].row, wanted[0].column));
  const above = `0/1/${wanted[1].row >> 1}/${wanted[1].column >> 1}`;
  assert.ok(tiles.kept.get(above)?.asked); // a coarser tile for the one that cannot be had
  tiles.want(wanted.slice(0, 2), ["mean"]);
  assert.equal(provider.asked.length, 4);
  tiles.retry();
  tiles.want(wanted.slice(0, 2), ["mean"]);
  assert.equal(provider.asked.length, 5);
});

test("the other planes come when another one is likely to be chosen, and nothing else is asked for", async () => {
  const provider = waiting();
  const tiles = new Tiles(provider, MAP, () => {});
  tiles.all = ["mean", "rms"];
  const wanted = [{ picture: 0, level: 1, row: 0, column: 0 }];
  tiles.want(wanted, ["mean"]);
  tiles.prepare();
  assert.equal(provider.asked.length, 1); // the first is not there yet
  provider.asked[0].give();
  await soon();
  assert.equal(tiles.completed(), false);
  tiles.want(wanted, ["mean"]);
  assert.deepEqual(provider.asked[1].planes, ["rms"]);
  provider.asked[1].give();
  await soon();
  assert.equal(tiles.completed(), true);
  tiles.want(wanted, ["rms"]);
  assert.equal(provider.asked.length, 2); // both are there
  tiles.want([{ ...wanted[0], row: 1 }], ["rms"]);
  provider.asked[2].give();
  await soon();
  tiles.want([{ ...wanted[0], row: 1 }], ["rms"]);
  assert.equal(provider.asked.length, 3); // elsewhere, nobody said so
});

test("of a picture that is still being read, what was read is asked for, and what changes is asked for again", async () => {
  const provider = waiting();
  const tiles = new Tiles(provider, MAP, () => {});
  tiles.base = 1;
  const wanted = [{ picture: 0, level: 1, row: 0, column: 0 }];
  tiles.want(wanted, ["mean"]);
  assert.equal(provider.asked.length, 0); // nothing of it was read: it is empty
  assert.equal(tiles.get(0, 1, 0, 0).cells.some.includes(1), false);
  tiles.refresh(0, [[400, 0, 1, 1]]);
  tiles.want(wanted, ["mean"]);
  assert.equal(provider.asked.length, 0); // another part of the map was read
  tiles.refresh(0, [[3, 4, 2, 5]]);
  tiles.refresh(0, [[7, 4, 1, 1]]);
  tiles.want(wanted, ["mean"]);
  assert.deepEqual(provider.asked.map(({ rectangle, planes }) => [rectangle, planes]), [[[3, 4, 5, 5], ["mean"]]]);
  provider.asked[0].give(2);
  await soon();
  const { cells } = tiles.get(0, 1, 0, 0);
  assert.deepEqual([3 * cells.width + 4, 7 * cells.width + 8, 2 * cells.width + 4, 3 * cells.width + 9].map((at) => [cells.planes.mean[at], cells.some[at]]), [[2, 1], [2, 1], [0, 0], [0, 0]]);
  tiles.prepare();
  assert.equal(provider.asked.length, 1); // the other planes come when the picture is whole
  tiles.want([{ ...wanted[0], row: 1 }], ["mean"]);
  assert.deepEqual(provider.asked[1].rectangle, [400, 0, 1, 1]); // known from before
});

test("rectangles are joined", () => {
  assert.deepEqual(joined(null, [1, 2, 3, 4]), [1, 2, 3, 4]);
  assert.deepEqual(joined([1, 2, 3, 4], null), [1, 2, 3, 4]);
  assert.deepEqual(joined([1, 2, 3, 4], [0, 9, 1, 1]), [0, 2, 4, 8]);
});

test("tiles are kept while there is room, those in sight always", () => {
  const tiles = new Tiles(waiting(), MAP, () => {});
  const planes = () => Object.fromEntries(["mean", "rms", "min", "max"].map((name) => [name, { length: 65536 }]));
  for (let number = 0; number < 400; number++) {
    tiles.kept.set(`0/0/0/${number}`, { cells: { height: 256, width: 256, planes: planes(), some: { length: 65536 } }, painted: null, stamp: "", asked: null, dirty: null, used: number, failed: false });
  }
  tiles.turn = 200;
  tiles.trim();
  assert.ok(tiles.kept.size < 400 && tiles.kept.size >= 200 + 100);
  assert.ok([...tiles.kept.values()].filter(({ used }) => used >= 200).length === 200);
  assert.ok(!tiles.kept.has("0/0/0/0") && tiles.kept.has("0/0/0/199"));
});
