"""The client's modules: files for a server, or one script for a page that fetches nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.renderers.browser import chromium

from torch2grid_builtin import viewer
from torch2grid_builtin._viewer.bundle import bundle


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    with chromium() as browser:
        yield browser.new_page()


def test_the_modules_are_files_beside_each_other() -> None:
    files = viewer.modules()
    assert {"report.js", "viewer.js", "locate.js", "panels.css"} <= set(files)
    for name, text in files.items():
        assert re.fullmatch(r"[\w-]+\.(js|css)", name)
        for other in re.findall(r'from "\./([^"]+)"', text.decode()):
            assert other in files, name
    with pytest.raises(TypeError):
        files["report.js"] = b""  # type: ignore[index]


def test_the_report_is_one_script_of_its_modules_each_after_those_it_imports() -> None:
    script = viewer.bundled("report.js")
    scopes = re.findall(r"^const (\$\w+) = \(\(\) => \{$", script, flags=re.MULTILINE)
    assert sorted(scopes) == sorted("$" + name.removesuffix(".js") for name in viewer.imported("report.js"))
    assert {"$heatmap", "$viewer", "$locate"} <= set(scopes)
    taken = [(found[1], found.start()) for found in re.finditer(r"^const \{.*\} = (\$\w+);$", script, flags=re.MULTILINE)]
    assert len(taken) > 20
    assert all(script.index(f"const {scope} =") < at for scope, at in taken)
    assert not re.search(r"^(import|export)\b", script, flags=re.MULTILINE)
    assert viewer.bundled("report.js") is script


def test_a_module_that_exports_nothing_is_one_that_runs(page: Any) -> None:
    script = bundle({"entry.js": 'document.body.dataset.ran = "yes";\n'}, "entry.js", module=True)
    page.set_content(f'<script type="module">{script}</script>')
    page.wait_for_selector("body[data-ran=yes]")
    failed = page.evaluate("(text) => import(`data:text/javascript,${encodeURIComponent(text)}`).catch(String)", script)
    assert not isinstance(failed, str), failed


def test_the_modules_keep_what_the_bundler_counts_on() -> None:
    for name, text in viewer.modules().items():
        if name.endswith(".js"):
            lines = text.decode().splitlines()
            # else a line of a text could look like a comment
            assert [line for line in lines if line.count("`") % 2] == [], name
            assert [line for line in lines if re.search(r"\b(const|let|function|class) \$", line)] == [], name


def test_a_bundle_does_what_its_modules_do(page: Any) -> None:
    sources = {
        "first.js": """// counts how often it runs
export const runs = [];
runs.push("first");
const hidden = "of the first";
/** Twice. @param {number} value */
export function twice(value) {
  return 2 * value;
}
export async function late() {
  return hidden;
}
""",
        "second.js": """import { runs, twice as double } from "./first.js";
const hidden = "of the second";
export class Box {
  text = "// no comment";
  value = double(21);
  hidden = hidden;
}
runs.push("second");
""",
        "entry.js": """import {
  late,
  runs,
} from "./first.js";
import { Box } from "./second.js";
late().then((text) => {
  globalThis.result = [...runs, text, new Box()];
});
""",
    }
    page.evaluate(bundle(sources, "entry.js"))
    value = {"text": "// no comment", "value": 42, "hidden": "of the second"}
    assert page.evaluate("globalThis.result") == ["first", "second", "of the first", value]
    assert page.evaluate("typeof Box + typeof twice + typeof hidden") == "undefined" * 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('import a from "./a.js";', "not known: import a"),
        ('import * as a from "./a.js";', "not known: import \\*"),
        ('import "./a.js";', 'not known: import "'),
        ("import { a } from './a.js';", "not known: import { a }"),
        ('import { a } from "https://elsewhere/a.js";', "not known: import { a }"),
        ('import { a } from "../a.js";', "not known: import { a }"),
        ('import { "a" as b } from "./a.js";', "not known: "),
        ('  import { a } from "./a.js";', "not known: import { a }"),
        ('const a = await import("./a.js");', "not known: const a = await import"),
        ("const here = import.meta.url;", "not known: const here"),
        ('import { b } from "./a.js";', "imports b, which a.js does not export"),
        ('import { a } from "./gone.js";', "entry.js imports gone.js, which is not there"),
        ("export default 1;", "not known: export default"),
        ("export { a };", "not known: export { a }"),
        ('export * from "./a.js";', "not known: export \\*"),
        ("export let a = 1;", "not known: export let"),
        ("export const { a } = b;", "not known: export const"),
        ("const x = 1; export const a = 2;", "not known: const x"),
        ('import { entry } from "./round.js";', "entry.js → round.js → entry.js"),
    ],
)
def test_what_the_bundler_does_not_know_is_an_error(line: str, message: str) -> None:
    sources = {
        "a.js": "export const a = 1;\n",
        "round.js": 'import { entry } from "./entry.js";\nexport const entry = 1;\n',
        "entry.js": f"{line}\n",
    }
    with pytest.raises(ValueError, match=message):
        bundle(sources, "entry.js")
