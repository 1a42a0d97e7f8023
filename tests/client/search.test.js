import assert from "node:assert/strict";
import { test } from "node:test";

import { client } from "./modules.js";

const { finder, globbed } = await client("search.js");

test("words are looked for anywhere, and all of them", () => {
  const found = finder("  BIAS fc ");
  assert.deepEqual(["fc1.bias", "fc1.weight", "conv.bias", "bias of FC"].map((name) => found(name)), [true, false, false, true]);
  assert.ok(finder("")("anything"));
  assert.ok(finder("stats trained")("stats", "model_trained.pth"));
  assert.ok(!finder("trained*")("stats", "model_trained.pth"));
});

test("patterns fit the whole name, as a shell's do", () => {
  const cases = [
    ["*.weight", "layers.0.weight", true],
    ["*.weight", "layers.0.weight_scale", false],
    ["h.?.q", "h.3.q", true],
    ["h.?.q", "h.13.q", false],
    ["h.[0-3].q", "h.2.q", true],
    ["h.[!0-3].q", "h.2.q", false],
    ["h.[!0-3].q", "h.7.q", true],
    ["a+b(*)", "a+b(c)", true],
    ["a.b*", "axb", false],
    ["a[b", "a[b", true],
    ["[]a]x", "]x", true],
    ["*\\d*", "7", false],
    ["[z-a]*", "b", false],
    ["*", "line\nbreak", true],
  ];
  for (const [glob, name, fits] of cases) assert.equal(globbed(glob).test(name), fits, `${glob} of ${name}`);
  assert.ok(finder("*.weight q_proj")("layers.0.q_proj.weight"));
  assert.ok(!finder("*.weight q_proj")("layers.0.k_proj.weight"));
});
