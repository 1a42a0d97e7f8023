"""Reports of ``check`` for services and people: each holds every finding, and nothing that a name smuggles in."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.support.renderers.browser import chromium
from tests.support.tools import torch2grid

EVIL = "a,b::error file=x::\n<img src=x onerror=alert(1)> | [x](http://y) `c`"
SCHEMA = os.environ.get("TORCH2GRID_SARIF_SCHEMA", "")  # sarif-schema-2.1.0.json of OASIS; it is not copied here


@pytest.fixture
def ill(tmp_path: Path) -> Path:
    rng = np.random.default_rng(3)
    weights = rng.normal(size=(40, 60)).astype(np.float32) * 0.02
    weights[20, 30] = np.nan
    other = rng.normal(size=(40, 60)).astype(np.float32)
    other[0, 0] = np.inf
    save_file({"fc.weight": weights, EVIL: other, "empty": np.empty(0, np.float32)}, tmp_path / "ill model.safetensors")
    return tmp_path


def reports(folder: Path, *words: str) -> tuple[int, dict[str, str]]:
    names = ("json", "junit", "sarif", "github", "markdown", "html")
    formats = ",".join(["text", *(f"{name}=out/{name}" for name in names)])
    done = torch2grid("check", "ill model.safetensors", "-q", "--format", formats, *words, cwd=folder)
    return done.returncode, {"text": done.stdout, **{name: (folder / "out" / name).read_text() for name in names}}


def test_every_report_has_every_finding_and_files_are_written_beside_the_text(ill: Path) -> None:
    code, found = reports(ill)
    assert code == 1
    for name, text in found.items():
        assert "T101" in text, name
        assert "fc.weight" in text.replace("\\", ""), name
        assert "T102" in text, name
        assert "T302" in text, name
        assert "\x1b" not in text, name


def test_a_workflow_command_is_one_line_and_no_name_begins_another(ill: Path) -> None:
    lines = reports(ill)[1]["github"].splitlines()
    assert len(lines) == 4
    for line in lines:
        assert re.match(r"::(error|warning|notice) file=ill model\.safetensors,title=[^:,]*::", line)
    assert lines[0].endswith("::fc.weight[20, 30]: 1 of 2,400 weights is NaN")


def test_markdown_shows_names_as_they_are(ill: Path) -> None:
    text = reports(ill)[1]["markdown"]
    rows = [line for line in text.splitlines() if line.startswith("| T")]
    assert len(rows) == 3
    for row in rows:
        assert len(re.findall(r"(?<!\\)\|", row)) == 5
    assert "<img" not in text.replace("\\<img", "")


def test_sarif_is_what_its_schema_says(ill: Path) -> None:
    (ill / "e.json").write_text('{"accept": [{"rule": "T302", "reason": "always empty"}]}')
    document = json.loads(reports(ill, "--expect", "e.json")[1]["sarif"])
    (run,) = document["runs"]
    assert [result["ruleId"] for result in run["results"]] == ["T101", "T102", "T302"]
    first, _, accepted = run["results"]
    assert first["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "ill%20model.safetensors"
    assert first["locations"][0]["logicalLocations"][0]["name"] == "fc.weight[20, 30]"
    assert accepted["suppressions"][0]["justification"] == "always empty"
    rules = run["tool"]["driver"]["rules"]
    assert all(rules[result["ruleIndex"]]["id"] == result["ruleId"] for result in run["results"])
    assert len({result["partialFingerprints"]["torch2grid/1"] for result in run["results"]}) == 3
    if SCHEMA:
        schema = json.loads(Path(SCHEMA).read_text())
        jsonschema.validators.validator_for(schema)(schema).validate(document)


def test_a_file_that_cannot_be_read_is_a_failed_run_in_sarif(tmp_path: Path) -> None:
    (tmp_path / "no.pth").write_bytes(b"nothing")
    done = torch2grid("check", "no.pth", "--format", "sarif", cwd=tmp_path)
    (run,) = json.loads(done.stdout)["runs"]
    assert done.returncode == 2
    assert run["invocations"][0]["executionSuccessful"] is False
    assert "no.pth" in run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"]


def test_the_page_shows_the_place_and_runs_nothing(ill: Path) -> None:
    reports(ill)
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 390, "height": 800})
        told: list[Any] = []
        page.on("dialog", lambda dialog: (told.append(dialog.message), dialog.dismiss()))
        page.on("console", lambda message: told.append(message.text))
        page.on("request", lambda request: None if request.url.startswith(("file:", "data:")) else told.append(request.url))
        page.goto((ill / "out" / "html").rename(ill / "out" / "found.html").as_uri())
        assert told == []
        assert page.locator("tr").count() == 4
        assert page.locator("figure img").count() == 2
        assert "rows 4–35, columns 14–45" in page.locator("figcaption").first.inner_text()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("xml", "no report 'xml'"),
        ("json,text", "one report alone goes to stdout"),
        ("json=", "needs a file"),
        ("json=a,json=b", "is named twice"),
        (",", "names no report"),
    ],
)
def test_formats_that_make_no_sense_are_usage_errors(ill: Path, given: str, told: str) -> None:
    done = torch2grid("check", "ill model.safetensors", "--format", given, cwd=ill)
    assert done.returncode == 2
    assert told in done.stderr.replace("\n  ", " ")
