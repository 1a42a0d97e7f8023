import assert from "node:assert/strict";
import { test } from "node:test";

import { client } from "./modules.js";

const { Camera } = await client("camera.js");

const EXTENT = { rows: 4000, columns: 3000, cells: [[1, 1], [2, 2], [4, 4], [8, 8], [16, 16]] };
const made = (width = 1200, height = 800) => {
  const camera = new Camera(EXTENT);
  camera.resize(width, height);
  camera.fit();
  return camera;
};
const whole = (number) => Math.abs(number - Math.round(number)) < 1e-6;

test("all is seen at first, in the middle", () => {
  const camera = made();
  assert.deepEqual(camera.sight, [0, 0, 4000, 3000]);
  assert.ok(Math.abs(camera.row + 400 / camera.scale - 2000) * camera.scale <= 1);
  assert.equal(camera.scale, camera.fitting());
});

test("the level's cells are the smallest of a device pixel or more", () => {
  const camera = made();
  for (const [scale, level] of [[3, 0], [1, 0], [0.99, 1], [0.5, 1], [0.3, 2], [0.125, 3], [0.07, 4], [0.01, 4]]) {
    camera.scale = scale;
    assert.equal(camera.level, level, String(scale));
  }
});

test("the weight under the pointer stays there when one zooms, and edges are on whole pixels", () => {
  const camera = made();
  for (const factor of [1.5, 3, 2, 0.7, 4, 1.2, 0.5, 1.1, 1.1, 3]) {
    const [x, y] = [737, 411];
    const before = [camera.row + y / camera.scale, camera.column + x / camera.scale];
    camera.zoom(factor, x, y);
    const after = [camera.row + y / camera.scale, camera.column + x / camera.scale];
    if (camera.scale > 1.05 * camera.fitting()) after.forEach((each, axis) => assert.ok(Math.abs(each - before[axis]) * camera.scale <= 1, `${factor}`));
    assert.ok(whole(camera.row * camera.scale) && whole(camera.column * camera.scale));
    if (camera.level === 0 && camera.scale > 2) assert.ok(whole(camera.scale));
  }
});

test("many small steps of a pinch are as one large one", () => {
  const [one, many] = [made(), made()];
  for (const camera of [one, many]) [camera.scale, camera.wanted] = [3, 3];
  one.zoom(4, 100, 100);
  for (let i = 0; i < 100; i++) many.zoom(4 ** 0.01, 100, 100);
  assert.equal(one.scale, 12);
  assert.equal(many.scale, 12);
  for (let i = 0; i < 100; i++) many.zoom(4 ** -0.01, 100, 100);
  assert.equal(many.scale, 3);
});

test("there is always some of the map in sight", () => {
  const camera = made();
  camera.zoom(20, 10, 10);
  for (const [x, y] of [[1e7, 1e7], [-1e7, 1e7], [-1e7, -1e7], [1e7, -1e7], [0.3, 0]]) {
    camera.move(x, y);
    const [top, left, bottom, right] = camera.sight;
    assert.ok(bottom > top && right > left);
  }
});

test("what is shown is in the middle, and as large as it fits", () => {
  const camera = made();
  for (const [top, left, height, width] of [[0, 0, 10, 10], [3900, 0, 100, 3000], [100, 2900, 900, 100], [0, 0, 4000, 3000]]) {
    camera.show([top, left, height, width]);
    const share = Math.max((height * camera.scale) / 800, (width * camera.scale) / 1200);
    assert.ok(share <= 0.91 && (share > 0.6 || camera.scale === 160), `${share}`);
    const all = 800 / camera.scale >= 4000 && 1200 / camera.scale >= 3000;
    const middle = all ? [2000, 1500] : [top + height / 2, left + width / 2];
    assert.ok(Math.abs(camera.row + 400 / camera.scale - middle[0]) * camera.scale <= 1);
    assert.ok(Math.abs(camera.column + 600 / camera.scale - middle[1]) * camera.scale <= 1);
  }
});

test("a view of another size keeps its middle; one of all still shows all", () => {
  const camera = made();
  camera.resize(500, 900);
  assert.deepEqual(camera.sight, [0, 0, 4000, 3000]);
  camera.scale = 4;
  camera.center(1000, 700);
  camera.resize(1000, 300);
  assert.ok(Math.abs(camera.row + 150 / 4 - 1000) <= 0.25 && Math.abs(camera.column + 500 / 4 - 700) <= 0.25);
  assert.deepEqual(camera.at(500, 150), { row: 1000, column: 700 });
});
