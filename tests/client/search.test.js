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

/** What a glob means, tried character by character. */
function fits(glob, name) {
  if (!glob) return !name;
  if (glob[0] === "*") return fits(glob.slice(1), name) || (name !== "" && fits(glob, name.slice(1)));
  if (glob.startsWith("[[]")) return name[0] === "[" && fits(glob.slice(3), name.slice(1));
  return name !== "" && (glob[0] === "?" || glob[0] === name[0]) && fits(glob.slice(1), name.slice(1));
}

test("a search takes words and globs, whatever stands in them", () => {
  const names = ["model.embed.weight", "model.layers.0.attn.q.weight", "model.layers.1.attn.q.weight", "model.layers.1.mlp.weight", "model.layers.12.mlp.weight", "a+b.[c]", "a.b", "aab", "aba", "ab", "abab", ""];
  const found = (query) => {
    const fitting = finder(query);
    return names.filter((name) => fitting(name));
  };
  for (const glob of ["*", "a*", "*b", "a*b", "*a*b*", "ab*ab", "a?b", "?", "*?", "*.weight", "*layers.?.m*", "*b.[[]c]", "model*2*q*", "a*b*a*b", "**", "*b*b"]) {
    assert.deepEqual(found(glob), names.filter((name) => fits(glob, name)), glob);
  }
  assert.deepEqual(found("a+b.[c]"), ["a+b.[c]"]); // the same text, as --only takes it
  assert.deepEqual(found("*layers.[0-9].*"), names.filter((name) => /layers\.[0-9]\./.test(name)));
  assert.deepEqual(found("*layers.[!1].*"), ["model.layers.0.attn.q.weight"]);
  assert.deepEqual(found("layers.["), []); // a word, as long as nothing closes it
  assert.deepEqual(found("b.["), ["a+b.[c]"]);
  assert.deepEqual(found("MLP layers.1"), ["model.layers.1.mlp.weight", "model.layers.12.mlp.weight"]);
  assert.deepEqual(found("*weight q"), names.filter((name) => name.includes(".q.")));
  assert.deepEqual(found("a+b"), ["a+b.[c]"]);
});
